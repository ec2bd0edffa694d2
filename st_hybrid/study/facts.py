"""Parallel rows from Unicode CLDR (https://cldr.unicode.org) that are short and hard: for encoders from scratch."""

from collections.abc import Sequence
from itertools import product
from typing import Literal, get_args

import numpy as np
from babel import Locale
from babel.core import get_global
from babel.dates import get_timezone_location
from datasets import Dataset, DatasetDict

from st_hybrid.study.cldr import LANGUAGES, currencies_of_territories, languages_of_territories, unshared

Kind = Literal["currency", "language", "city"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Fact = tuple[str, Kind]  # the territory and what is asked of it

# fmt: off
_WORDS = {
    "ar": ("العملة", "اللغة", "المدينة"),
    "de": ("Währung", "Sprache", "Stadt"),
    "el": ("νόμισμα", "γλώσσα", "πόλη"),
    "en": ("currency", "language", "city"),
    "es": ("moneda", "idioma", "ciudad"),
    "hi": ("मुद्रा", "भाषा", "शहर"),
    "ru": ("валюта", "язык", "город"),
    "th": ("สกุลเงิน", "ภาษา", "เมือง"),
    "tr": ("para birimi", "dil", "şehir"),
    "vi": ("tiền tệ", "ngôn ngữ", "thành phố"),
    "zh": ("货币", "语言", "城市"),
}
# fmt: on


def fact_rows(
    *,
    groups: int = 1000,
    seed: int = 0,
    kinds: Sequence[Kind] = KINDS,
    held_out: float = 0.3,
    related: int = 4,
    codes: float = 0.4,
) -> DatasetDict:
    """Generate parallel rows that ask for two facts, such as ``Japan: city? Kenya: language?``.

    Most answers, such as ``Tokyo. Swahili.``, share no word with the question, so an encoder has to learn both facts in
    every language. Training asks for all facts equally often. The held-out part, ``test``, has new combinations of the
    same facts, and for each question passages that answer half of it.

    Args:
        groups: Number of combinations. The fewer there are, the harder it is to learn all facts.
        seed: Seed of the draw. Equal arguments and versions of babel give equal rows.
        kinds: Kinds of facts: "currency" and "language" as in :func:`~st_hybrid.study.cldr.cldr_rows`, and "city", the
            one that gives a territory with one time zone its name in the tz database.
        held_out: Share of the groups to hold out.
        related: The held-out groups combine each of so many facts with each of as many others.
        codes: Share of the territories that all languages name by their code, such as ``JP``. From these a monolingual
            batch learns that languages belong together, as it does from numbers and names in real text.

    Raises:
        ValueError: An argument is out of range.

    Example:
        ::

            from st_hybrid.study.facts import fact_rows

            print(fact_rows()["train"][0]["query"])
    """
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds must be some of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}.")
    if not 0 <= codes <= 1 or not 0 < held_out < 1 or related < 1:
        raise ValueError(
            f"codes must be between 0 and 1, held_out above 0 and below 1, and related at least 1, got {codes}, "
            f"{held_out} and {related}."
        )
    locales = [Locale(language) for language in LANGUAGES]
    answers = {fact: names for kind in kinds for fact, names in _answers(kind, locales).items()}
    facts, random, wanted = list(answers), np.random.default_rng(seed), max(1, round(groups * held_out))
    least, most = len(facts) // 2 + wanted, len(facts) ** 2 // 4
    if not least <= groups <= most or 2 * related > len(facts):
        raise ValueError(
            f"groups must be between {least:,} and {most:,} to ask for each of {len(facts)} facts and to hold out "
            f"{wanted:,} combinations, and related at most {len(facts) // 2}, got {groups:,} and {related}."
        )
    test: dict[tuple[int, int], None] = {}  # dictionaries keep the order of the draw
    while len(test) < wanted:
        first, second = random.permutation(len(facts))[: 2 * related].reshape(2, related).tolist()
        test |= dict.fromkeys(product(first, second))
    chosen, train = list(test)[:wanted], dict[tuple[int, int], None]()
    held = set(chosen)
    while len(train) < groups - wanted:  # a round asks for each fact once
        pairs = random.permutation(len(facts))[: len(facts) // 2 * 2].reshape(-1, 2).tolist()
        train |= {(a, b): None for a, b in pairs if (a, b) not in held}
    coded = {territory for territory in sorted({fact[0] for fact in facts}) if random.random() < codes}

    def rows(pairs: Sequence[tuple[int, int]]) -> Dataset:
        found = []
        for pair in ([facts[number] for number in numbers] for numbers in pairs):
            name = "-".join(f"{territory}.{kind}" for territory, kind in pair)
            for place, locale in enumerate(locales):
                asked = (
                    f"{territory if territory in coded else locale.territories[territory]}: "
                    f"{_WORDS[locale.language][KINDS.index(kind)]}?"
                    for territory, kind in pair
                )
                answered = (f"{answers[fact][place]}." for fact in pair)
                texts = {"query": " ".join(asked), "positive": " ".join(answered)}
                found.append({"id": name, "language": locale.language, **texts})
        return Dataset.from_list(found)

    return DatasetDict({"train": rows(list(train)[: groups - wanted]), "test": rows(chosen)})


def _answers(kind: Kind, locales: Sequence[Locale]) -> dict[Fact, list[str]]:
    """The answer to each question of a kind, in the order of the locales."""
    if kind == "currency":
        codes = unshared(currencies_of_territories(), "currencies", locales)
        return {(name, kind): [one.currencies[code] for one in locales] for name, code in codes.items()}
    if kind == "language":
        codes = unshared(languages_of_territories(), "languages", locales)
        return {(name, kind): [one.languages[code] for one in locales] for name, code in codes.items()}
    zones = {name: of[0] for name, of in sorted(get_global("territory_zones").items()) if len(of) == 1}
    found: dict[Fact, list[str]] = {}
    for name, zone in zones.items():
        if all(name in one.territories for one in locales):
            cities = [get_timezone_location(zone, locale=one, return_city=True) for one in locales]
            # A city with the name of its territory would give the answer away.
            if not any(city == one.territories[name] for city, one in zip(cities, locales, strict=True)):
                found[name, kind] = cities
    return found
