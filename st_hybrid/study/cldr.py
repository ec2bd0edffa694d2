"""Parallel rows generated from Unicode CLDR (https://cldr.unicode.org): the data of ``st-hybrid quickstart``."""

from collections import Counter
from collections.abc import Sequence
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


def cldr_rows(*, groups: int = 1000, seed: int = 0) -> DatasetDict:
    """Generate parallel rows that ask for the currency of one territory and the main language of another.

    A group such as ``JP-KE`` asks what people pay with in Japan and speak in Kenya. The answer names neither, so an
    encoder has to learn two facts and combine them. All answers differ. A fifth of the groups is held out in ``test``:
    new *combinations* of territories that occur in the same role in training groups.

    Args:
        groups: Number of combinations. With about 1,000 every territory occurs several times.
        seed: Seed of the draw. Equal arguments and versions of babel give equal rows.

    Example:
        ::

            from st_hybrid.study.cldr import cldr_rows

            print(cldr_rows()["train"][0]["query"])
    """
    locales = [Locale(language) for language in LANGUAGES]
    currencies, languages = (
        unshared(currencies_of_territories(), "currencies", locales),
        unshared(languages_of_territories(), "languages", locales),
    )
    possible = [(first, second) for first, second in product(currencies, languages) if first != second]
    if not 1 <= groups <= len(possible):
        raise ValueError(f"groups must be between 1 and {len(possible):,}, the number of combinations, got {groups}.")
    chosen = [possible[i] for i in np.random.default_rng(seed).permutation(len(possible))[:groups]]
    wanted = round(groups / 5)
    parts: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    uses = Counter(name for pair in chosen for name in enumerate(pair))  # of each territory, by its role
    for first, second in chosen:
        pair = set(enumerate((first, second)))
        hold_out = len(parts["test"]) < wanted * len(locales) and all(uses[name] > 1 for name in pair)
        uses.subtract(pair if hold_out else ())
        for locale in locales:
            query, positive = _TEMPLATES[locale.language]
            query = query.format(first=locale.territories[first], second=locale.territories[second])
            currency, language = locale.currencies[currencies[first]], locale.languages[languages[second]]
            texts = {"query": query, "positive": positive.format(currency=currency, language=language)}
            row = {"id": f"{first}-{second}", "language": locale.language, **texts}
            parts["test" if hold_out else "train"].append(row)
    if len(parts["test"]) < wanted * len(locales):
        raise ValueError(f"Too few groups to hold out {wanted} of known names. Use more than {groups}.")
    return DatasetDict({name: Dataset.from_list(rows) for name, rows in parts.items()})


def currencies_of_territories() -> dict[str, str]:
    """The currency of each territory that has exactly one now."""
    territories = get_global("territory_currencies").items()
    now = {name: [code for code, _, end, tender in uses if tender and end is None] for name, uses in territories}
    return {name: codes[0] for name, codes in now.items() if len(codes) == 1}


def languages_of_territories() -> dict[str, str]:
    """The language that most people of each territory use."""
    uses = get_global("territory_languages").items()
    return {name: max(of, key=lambda code: (of[code]["population_percent"], code)) for name, of in uses if of}


def unshared(answers: dict[str, str], kind: str, locales: Sequence[Locale]) -> dict[str, str]:
    """The answers of the territories that share theirs with no other, where all locales have a name for both."""
    uses = Counter(answers.values())
    return {
        territory: code
        for territory, code in sorted(answers.items())
        if uses[code] == 1 and all(territory in one.territories and code in getattr(one, kind) for one in locales)
    }
