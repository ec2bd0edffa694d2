"""What the splitter finds, language by language."""

from __future__ import annotations

import pytest

from st_hybrid.sentences import sentence_spans


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("ar", ["هذا كتاب.", "أين القلم؟", "هنا!"]),
        ("de", ["Das gilt z. B. hier.", "Und dort?", "Ja!"]),
        ("el", ["Πού είναι;", "Εδώ είναι."]),
        ("en", ["Dr. Smith lives here.", "Where?", "There!"]),
        ("hi", ["यह किताब है।", "वह कहाँ है?"]),
        ("ja", ["これは本です。", "あれはペンですか？"]),
        ("ko", ["이것은 책입니다.", "어디에 있습니까?"]),
        ("ru", ["Это книга.", "Где она?"]),
        ("tr", ["Bu bir kitap.", "Nerede?"]),
        ("vi", ["Đây là sách.", "Ở đâu?"]),
        ("zh", ["这是书。", "在哪里？", "那里！"]),
        ("zza", ["Ez şina.", "Ti kamî?"]),
    ],
)
@pytest.mark.parametrize("between", [" ", "\n", "  \n\n "])
def test_sentences_of_many_languages(language: str, sentences: list[str], between: str) -> None:
    text = f" {between.join(sentences)} "
    assert [text[start:end] for start, end in sentence_spans(language, text)] == sentences


def test_offsets_count_characters() -> None:
    text = "😀😀 Eins. Zwei."
    assert [text[start:end] for start, end in sentence_spans("de", text)] == ["😀😀 Eins.", "Zwei."]


def test_nothing_in_nothing() -> None:
    assert sentence_spans("de", "") == sentence_spans("de", " \n ") == []
