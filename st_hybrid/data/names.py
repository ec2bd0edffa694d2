"""Which languages the names of columns and files mean: one rule for all readers."""

import functools
import re
from pathlib import Path

from langcodes import Language, standardize_tag

from st_hybrid.languages import close_languages, is_language

_SPEAKERS = 10_000
_SELDOM_MEANT = ("id", "src")  # "identifier" and "source" more often than Indonesian and Sardinian


@functools.cache
def means_language(name: str) -> bool:
    """Whether a part of a name, such as ``de`` of ``query_de``, means a language beyond doubt.

    ``len``, ``raw`` and ``url`` are codes of small languages: three letters count if the language has speakers in CLDR.
    """
    if not is_language(name) or name in _SELDOM_MEANT:
        return False
    return len(name) != 3 or (Language.get(standardize_tag(name, macro=True)).speaking_population() or 0) >= _SPEAKERS


def language_of_file(path: Path, mend: str) -> str:
    """The language that a file's name ends in: ``de`` of ``de.json``, ``squad.de.json`` and ``corpus.de.gz``.

    If it ends in none, ``mend`` tells what to do, with ``{code}`` for a likely language.
    """
    name = re.sub(r"(\.(json|jsonl|txt))?(\.(gz|zst|bz2|xz))*$", "", path.name, flags=re.IGNORECASE)
    parts = [re.split(marks, name)[-1] for marks in (r"$^", r"\.", r"[._]", r"[._-]")]  # the longest first
    if found := [part for part in parts if means_language(part)]:
        return found[0]
    meant = [code for code in close_languages(parts[-1]) if means_language(code)] or ["de"]
    raise ValueError(f"{path}: the name does not end in a language code. {mend.format(code=meant[0], path=path)}")
