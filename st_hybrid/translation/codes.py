"""The codes of languages in NLLB-200 (those of FLORES-200) and in M2M100, from any code that people write."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Literal, NamedTuple

from babel.core import get_global

from st_hybrid.languages import close_languages, english_name

Family = Literal["flores", "m2m"]
"""Whose codes: FLORES-200's, as NLLB-200 takes them (``deu_Latn``), or M2M100's (``de``)."""

# What the package writes (ISO 639-1 where there is one, with a script where the language has several), FLORES-200's
# code and M2M100's. A language of M2M100 that is a macrolanguage stands beside a member of it: Fula (ff) beside
# Nigerian Fulfulde, Norwegian (no) beside Bokmål, Pashto (ps) beside Southern Pashto. Santali's code names the Bengali
# script by mistake; the model writes Ol Chiki (github.com/facebookresearch/flores/issues/52).
_TABLE = """
ace ace_Latn -; ace-Arab ace_Arab -; acm acm_Arab -; acq acq_Arab -; aeb aeb_Arab -; af afr_Latn af; ajp ajp_Arab -;
ak aka_Latn -; am amh_Ethi am; apc apc_Arab -; ar arb_Arab ar; ars ars_Arab -; ary ary_Arab -; arz arz_Arab -;
as asm_Beng -; ast ast_Latn ast; awa awa_Deva -; ay ayr_Latn -; az azj_Latn az; azb azb_Arab -; ba bak_Cyrl ba;
ban ban_Latn -; be bel_Cyrl be; bem bem_Latn -; bg bul_Cyrl bg; bho bho_Deva -; bjn bjn_Latn -; bjn-Arab bjn_Arab -;
bm bam_Latn -; bn ben_Beng bn; bo bod_Tibt -; br - br; bs bos_Latn bs; bug bug_Latn -; ca cat_Latn ca;
ceb ceb_Latn ceb; cjk cjk_Latn -; ckb ckb_Arab -; crh crh_Latn -; cs ces_Latn cs; cy cym_Latn cy; da dan_Latn da;
de deu_Latn de; dik dik_Latn -; dyu dyu_Latn -; dz dzo_Tibt -; ee ewe_Latn -; el ell_Grek el; en eng_Latn en;
eo epo_Latn -; es spa_Latn es; et est_Latn et; eu eus_Latn -; fa pes_Arab fa; ff fuv_Latn ff; fi fin_Latn fi;
fj fij_Latn -; fo fao_Latn -; fon fon_Latn -; fr fra_Latn fr; fur fur_Latn -; fy - fy; ga gle_Latn ga;
gd gla_Latn gd; gl glg_Latn gl; gn grn_Latn -; gu guj_Gujr gu; ha hau_Latn ha; he heb_Hebr he; hi hin_Deva hi;
hne hne_Deva -; hr hrv_Latn hr; ht hat_Latn ht; hu hun_Latn hu; hy hye_Armn hy; id ind_Latn id; ig ibo_Latn ig;
ilo ilo_Latn ilo; is isl_Latn is; it ita_Latn it; ja jpn_Jpan ja; jv jav_Latn jv; ka kat_Geor ka; kab kab_Latn -;
kac kac_Latn -; kam kam_Latn -; kbp kbp_Latn -; kea kea_Latn -; kg kon_Latn -; ki kik_Latn -; kk kaz_Cyrl kk;
km khm_Khmr km; kmb kmb_Latn -; kn kan_Knda kn; ko kor_Hang ko; kr knc_Latn -; kr-Arab knc_Arab -; ks kas_Arab -;
ks-Deva kas_Deva -; ku kmr_Latn -; ky kir_Cyrl -; lb ltz_Latn lb; lg lug_Latn lg; li lim_Latn -; lij lij_Latn -;
lmo lmo_Latn -; ln lin_Latn ln; lo lao_Laoo lo; lt lit_Latn lt; ltg ltg_Latn -; lua lua_Latn -; luo luo_Latn -;
lus lus_Latn -; lv lvs_Latn lv; mag mag_Deva -; mai mai_Deva -; mg plt_Latn mg; mi mri_Latn -; min min_Latn -;
mk mkd_Cyrl mk; ml mal_Mlym ml; mn khk_Cyrl mn; mni mni_Beng -; mos mos_Latn -; mr mar_Deva mr; ms zsm_Latn ms;
mt mlt_Latn -; my mya_Mymr my; nb nob_Latn no; ne npi_Deva ne; nl nld_Latn nl; nn nno_Latn -; nso nso_Latn ns;
nus nus_Latn -; ny nya_Latn -; oc oci_Latn oc; om gaz_Latn -; or ory_Orya or; pa pan_Guru pa; pag pag_Latn -;
pap pap_Latn -; pl pol_Latn pl; prs prs_Arab -; ps pbt_Arab ps; pt por_Latn pt; qu quy_Latn -; rn run_Latn -;
ro ron_Latn ro; ru rus_Cyrl ru; rw kin_Latn -; sa san_Deva -; sat sat_Beng -; sc srd_Latn -; scn scn_Latn -;
sd snd_Arab sd; sg sag_Latn -; shn shn_Mymr -; si sin_Sinh si; sk slk_Latn sk; sl slv_Latn sl; sm smo_Latn -;
sn sna_Latn -; so som_Latn so; sq als_Latn sq; sr srp_Cyrl sr; ss ssw_Latn ss; st sot_Latn -; su sun_Latn su;
sv swe_Latn sv; sw swh_Latn sw; szl szl_Latn -; ta tam_Taml ta; taq taq_Latn -; taq-Tfng taq_Tfng -; te tel_Telu -;
tg tgk_Cyrl -; th tha_Thai th; ti tir_Ethi -; tk tuk_Latn -; tl tgl_Latn tl; tn tsn_Latn tn; tpi tpi_Latn -;
tr tur_Latn tr; ts tso_Latn -; tt tat_Cyrl -; tum tum_Latn -; tw twi_Latn -; tzm tzm_Tfng -; ug uig_Arab -;
uk ukr_Cyrl uk; umb umb_Latn -; ur urd_Arab ur; uz uzn_Latn uz; vec vec_Latn -; vi vie_Latn vi; war war_Latn -;
wo wol_Latn wo; xh xho_Latn xh; yi ydd_Hebr yi; yo yor_Latn yo; yue yue_Hant -; zh zho_Hans zh; zh-Hant zho_Hant -;
zu zul_Latn zu
"""


class LanguageCodes(NamedTuple):
    """What one language is called.

    Args:
        tag: By this package and by BCP 47: ``"de"``, ``"zh-Hant"``.
        flores: By FLORES-200 and NLLB-200, or None: ``"deu_Latn"``.
        m2m: By M2M100, or None: ``"de"``.
    """

    tag: str
    flores: str | None
    m2m: str | None


LANGUAGES: tuple[LanguageCodes, ...] = tuple(
    LanguageCodes(*(None if code == "-" else code for code in entry.split()))  # type: ignore[arg-type]
    for entry in _TABLE.split(";")
)
"""All languages of NLLB-200 and of M2M100."""


def language_codes(code: str) -> LanguageCodes:
    """Find a language by any of its codes.

    Args:
        code: What the package calls it, ISO 639-1 or 639-3, FLORES-200's or M2M100's code, an outdated code, with a
            script or a region if wanted: ``de``, ``deu``, ``deu_Latn``, ``zh-TW``, ``iw``. A region tells scripts apart
            and counts for nothing else.

    Returns:
        Its codes.

    Raises:
        KeyError: Neither NLLB-200 nor M2M100 has the language, or not in the script asked for.

    Example:
        ::

            from st_hybrid.translation import language_codes

            language_codes("zh-TW")  # LanguageCodes(tag="zh-Hant", flores="zho_Hant", m2m=None)
    """
    index = _index()
    name = code.replace("_", "-").lower()
    if name in index:
        return index[name]
    language, script = _parts(name)
    # Without a script asked for, the one that CLDR calls the likely one is tried, and then whichever there is.
    for key in (f"{language}-{script}", *((language,) if script is None or script == _likely_script(language) else ())):
        if key in index:
            return index[key]
    raise KeyError(code)


def model_code(code: str, available: Collection[str], family: Family, model: str) -> str:
    """What a model calls a language.

    Args:
        code: As for :func:`language_codes`; or, as it is, a code that the model has and the table has not.
        available: The codes of the languages that the model has.
        family: Whose codes these are.
        model: What messages call the model.

    Returns:
        One of ``available``.

    Raises:
        ValueError: The model does not have the language. The message says which it has that may be meant.

    Example:
        ::

            from st_hybrid.translation import model_code

            model_code("de", {"deu_Latn", "eng_Latn"}, "flores", "my-nllb")  # "deu_Latn"
    """
    if code in available:
        return code
    try:
        found = getattr(language_codes(code), family)
    except KeyError:
        found = None
    if found is not None and found in available:
        return str(found)
    tags = {row.tag for row in LANGUAGES if getattr(row, family) in available}
    meant = [f"{tag!r} ({name})" if (name := english_name(tag)) else repr(tag) for tag in _close(code, tags)]
    has = ", ".join(sorted(tags)) if len(tags) <= 20 else f"{len(tags)} others"
    raise ValueError(
        f"{model} has no language {code!r}"
        + (f". Did you mean {' or '.join(meant)}?" if meant else f", but {has or 'none that is known here'}.")
    )


def _close(code: str, tags: Collection[str]) -> list[str]:
    language = _parts(code.replace("_", "-").lower())[0]
    found = [tag for tag in sorted(tags) if _parts(tag.lower())[0] == language]
    if not found:
        found = [tag for tag in close_languages(code) if tag in tags]
    return found or get_close_matches(code, sorted(tags), n=2, cutoff=0.6)


@functools.cache
def _index() -> dict[str, LanguageCodes]:
    """Rows by everything that means them alone, in lower case and with hyphens."""
    index: dict[str, LanguageCodes] = {}
    # The surest names come first; a later one does not displace them.
    for row in LANGUAGES:
        index[row.tag.lower()] = row
    for row in LANGUAGES:
        if row.flores is not None:
            index.setdefault(row.flores.replace("_", "-").lower(), row)
    for row in LANGUAGES:
        if row.m2m is not None:
            index.setdefault(row.m2m, row)
    for row in LANGUAGES:
        if row.flores is not None:
            language, script = row.flores.lower().split("_")
            if "-" not in row.tag:
                index.setdefault(language, row)
            for name in (language, _parts(row.tag.lower())[0]):
                index.setdefault(f"{name}-{script}", row)
                index.setdefault(f"{_canonical(name)}-{script}", row)
    for row in LANGUAGES:
        if "-" not in row.tag:
            index.setdefault(_canonical(row.tag), row)
    return index


def _parts(name: str) -> tuple[str, str | None]:
    """Canonical language, and the script that is asked for or that the region implies."""
    match = re.fullmatch(r"([a-z]{2,3})(?:-([a-z]{4}))?(?:-([a-z]{2}|\d{3}))?", name)
    if match is None:
        return name, None
    language = _canonical(match[1])
    if match[2] or not match[3]:
        return language, match[2]
    likely = get_global("likely_subtags").get(f"{language}_{match[3].upper()}")
    return language, likely.split("_")[1].lower() if likely else None


def _canonical(language: str) -> str:
    return str(get_global("language_aliases").get(language, language)).split("_")[0]


def _likely_script(language: str) -> str | None:
    likely = get_global("likely_subtags").get(language)
    return likely.split("_")[1].lower() if likely else None
