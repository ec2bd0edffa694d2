"""Generated parallel rows from Unicode CLDR, without a network: the data of ``st-hybrid quickstart``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
from babel import Locale
from babel.core import get_global
from datasets import Dataset, DatasetDict

# fmt: off
_TEMPLATES = {  # of queries and of answers
    "ar": ("محطتان في رحلة: {first} ثم {second}. ما العملة المستخدمة في الأولى، وما اللغة الأكثر انتشارا في الثانية؟",
           "في المحطة الأولى يدفع الناس بهذه العملة: {currency}. وفي الثانية يتحدث معظمهم هذه اللغة: {language}."),
    "de": ("Zwei Stationen einer Reise: {first}, danach {second}. "
           "Welche Währung gilt an der ersten, und welche Sprache hört man an der zweiten am meisten?",
           "An der ersten Station zahlt man mit dieser Währung: {currency}. "
           "An der zweiten spricht man meist {language}."),
    "el": ("Δύο σταθμοί ενός ταξιδιού: {first}, μετά {second}. "
           "Ποιο νόμισμα ισχύει στον πρώτο και ποια γλώσσα μιλιέται περισσότερο στον δεύτερο;",
           "Στον πρώτο σταθμό πληρώνουν με αυτό το νόμισμα: {currency}. Στον δεύτερο μιλούν κυρίως {language}."),
    "en": ("Two stops on a trip: {first}, then {second}. "
           "Which currency is used at the first, and which language is most spoken at the second?",
           "At the first stop people pay in this currency: {currency}. At the second they mostly speak {language}."),
    "es": ("Dos paradas de un viaje: {first}, luego {second}. "
           "¿Qué moneda se usa en la primera y qué idioma se habla más en la segunda?",
           "En la primera parada se paga con esta moneda: {currency}. En la segunda se habla sobre todo {language}."),
    "hi": ("यात्रा के दो पड़ाव: {first}, फिर {second}। "
           "पहले पड़ाव पर कौन सी मुद्रा चलती है और दूसरे पर सबसे ज़्यादा कौन सी भाषा बोली जाती है?",
           "पहले पड़ाव पर लोग इस मुद्रा में भुगतान करते हैं: {currency}। दूसरे पर ज़्यादातर लोग {language} बोलते हैं।"),
    "ru": ("Две остановки в пути: {first}, затем {second}. "
           "Какая валюта в ходу на первой и какой язык самый распространённый на второй?",
           "На первой остановке платят такой валютой: {currency}. На второй чаще всего звучит этот язык: {language}."),
    "th": ("การเดินทางมีสองจุดหมาย: {first} แล้วต่อด้วย {second} จุดหมายแรกใช้สกุลเงินใด และจุดหมายที่สองพูดภาษาใดมากที่สุด",
           "ที่จุดหมายแรกผู้คนจ่ายเงินด้วยสกุลเงินนี้: {currency} ส่วนที่จุดหมายที่สองผู้คนส่วนใหญ่พูดภาษา {language}"),
    "tr": ("Yolculukta iki durak: {first}, sonra {second}. "
           "İlkinde hangi para birimi geçer, ikincisinde en çok hangi dil konuşulur?",
           "İlk durakta şu para birimiyle ödeme yapılır: {currency}. "
           "İkincisinde çoğunluk şu dili konuşur: {language}."),
    "vi": ("Hai chặng của chuyến đi: {first}, sau đó {second}. "
           "Chặng đầu dùng đồng tiền nào, và ở chặng thứ hai người ta nói ngôn ngữ nào nhiều nhất?",
           "Ở chặng đầu, người ta trả bằng đồng tiền này: {currency}. "
           "Ở chặng thứ hai, phần lớn mọi người nói ngôn ngữ này: {language}."),
    "zh": ("旅途中有两站：{first}、{second}。第一站使用哪种货币？第二站最常说哪种语言？",
           "在第一站用这种货币付款：{currency}。在第二站人们大多说这种语言：{language}。"),
}
# fmt: on

LANGUAGES = tuple(_TEMPLATES)
"""The languages that have templates: the 11 of XQuAD-R."""


def cldr_rows(
    languages: Sequence[str] = LANGUAGES, *, groups: int = 1000, held_out: float = 0.2, seed: int = 0
) -> DatasetDict:
    """Generate parallel rows that ask for the currency of one territory and the main language of another.

    A group's ``id`` such as ``JP-KE`` asks what people pay with in Japan and speak in Kenya. Only territories with a
    currency or main language of their own are used, so all answers differ. An answer names neither territory, so an
    encoder has to learn two facts and combine them. Held-out groups are new *combinations*: both territories occur in
    the same role in training groups.

    Args:
        languages: Two or more of :data:`LANGUAGES`.
        groups: Number of combinations. With about 1,000 every territory occurs several times.
        held_out: Share of the groups in ``test``, from 0 to below 1.
        seed: Seed of the draw. Equal arguments and versions of babel give equal rows.

    Returns:
        ``train`` and ``test``, with the text columns ``id``, ``language``, ``query`` and ``positive``.

    Raises:
        ValueError: A language has no templates, there are fewer than two languages or too few combinations, or a
            held-out name would not occur in training.

    References:
        Unicode CLDR, https://cldr.unicode.org, in the package babel.

    Example:
        ::

            from st_hybrid.study.cldr import cldr_rows

            print(cldr_rows(["en", "de"])["train"][0]["query"])
    """
    languages = list(dict.fromkeys(languages))
    if unknown := [language for language in languages if language not in _TEMPLATES]:
        raise ValueError(f"There are no templates for {', '.join(unknown)}, only for {', '.join(LANGUAGES)}.")
    if len(languages) < 2:
        raise ValueError(f"Parallel rows need two or more languages, got {languages}.")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share of the groups in [0, 1), got {held_out}.")
    locales = [Locale(language) for language in languages]
    currencies, main_languages = _currencies(), _main_languages()
    firsts, seconds = _single(currencies, "currencies", locales), _single(main_languages, "languages", locales)
    possible = [(first, second) for first, second in product(firsts, seconds) if first != second]
    if not 1 <= groups <= len(possible):
        raise ValueError(f"groups must be between 1 and {len(possible):,}, the number of combinations, got {groups}.")

    chosen = np.random.default_rng(seed).permutation(len(possible))[:groups].tolist()
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    uses = Counter(name for i in chosen for name in enumerate(possible[i]))  # of each territory, by its role
    wanted = round(held_out * groups)
    for pair in (possible[i] for i in chosen):
        hold_out = len(parts["test"]) < wanted and all(uses[name] > 1 for name in enumerate(pair))
        parts["test" if hold_out else "train"].append(pair)
        uses.subtract(enumerate(pair) if hold_out else ())
    if len(parts["test"]) < wanted:
        raise ValueError(
            f"Only {len(parts['test'])} of {wanted} groups can be held out with their names left in training. Use more "
            f"than {groups} groups or a smaller share than {held_out}."
        )
    return DatasetDict({name: _rows(part, currencies, main_languages, locales) for name, part in parts.items()})


def _rows(
    pairs: Iterable[tuple[str, str]], currencies: dict[str, str], languages: dict[str, str], locales: Iterable[Locale]
) -> Dataset:
    rows = []
    for (first, second), locale in product(pairs, locales):
        query, positive = _TEMPLATES[locale.language]
        names = locale.territories
        answer = {"currency": locale.currencies[currencies[first]], "language": locale.languages[languages[second]]}
        texts = {
            "query": query.format(first=names[first], second=names[second]),
            "positive": positive.format(**answer),
        }
        rows.append({"id": f"{first}-{second}", "language": locale.language, **texts})
    return Dataset.from_list(rows)


def _currencies() -> dict[str, str]:
    """The currency of each territory that has exactly one now."""
    now = {
        territory: [code for code, _, end, tender in entries if tender and end is None]
        for territory, entries in get_global("territory_currencies").items()
    }
    return {territory: codes[0] for territory, codes in now.items() if len(codes) == 1}


def _main_languages() -> dict[str, str]:
    """The language that most people of each territory use."""
    return {
        territory: max(entries, key=lambda code: (entries[code]["population_percent"], code))
        for territory, entries in get_global("territory_languages").items()
        if entries
    }


def _single(answers: dict[str, str], kind: str, locales: Sequence[Locale]) -> list[str]:
    """The territories that share their answer with no other, where all locales have a name for both."""
    uses = Counter(answers.values())
    return [
        territory
        for territory, code in sorted(answers.items())
        if uses[code] == 1 and all(territory in one.territories and code in getattr(one, kind) for one in locales)
    ]
