"""Each check finds its kind of bad translation, and leaves good ones alone."""

from __future__ import annotations

import numpy as np
import pytest

from st_hybrid.translation import Checks, reasons_of
from st_hybrid.translation.checks import copied_share, has_run, length_ratio

SOURCE = "The ferry to the island leaves every morning at half past six."
GOOD = {
    "de": "Die Fähre zur Insel fährt jeden Morgen um halb sieben ab.",
    "fr": "Le bac pour l'île part tous les matins à six heures et demie.",
    "ru": "Паром на остров отправляется каждое утро в половине седьмого.",
    "el": "Το φέρι για το νησί φεύγει κάθε πρωί στις έξι και μισή.",
    "tr": "Adaya giden feribot her sabah altı buçukta kalkar.",
    "vi": "Phà ra đảo khởi hành mỗi sáng lúc sáu giờ rưỡi.",
    "ar": "تغادر العبارة إلى الجزيرة كل صباح في السادسة والنصف.",
    "hi": "द्वीप जाने वाली नौका हर सुबह साढ़े छह बजे निकलती है।",
    "th": "เรือข้ามฟากไปเกาะออกทุกเช้าเวลาหกโมงครึ่ง",
    "zh": "去岛上的渡轮每天早上六点半开。",
    "ja": "島へのフェリーは毎朝六時半に出ます。",
    "ko": "섬으로 가는 배는 매일 아침 여섯 시 반에 떠납니다.",
}


class Suspects:
    """A detector that holds certain texts for another language."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def knows(self, language: str) -> bool:
        return True

    def other(self, texts: list[str], language: str) -> np.ndarray:
        return np.asarray([text in self.texts for text in texts])


def found(source: str, text: str, language: str = "de", **options: object) -> list[str]:
    (failed,) = Checks(**options).run([source], [text], language)
    return reasons_of(failed)


@pytest.mark.parametrize("language", GOOD)
def test_good_translations_pass_in_both_directions(language: str) -> None:
    assert found(SOURCE, GOOD[language], language) == []
    assert found(GOOD[language], SOURCE, "en") == []


@pytest.mark.parametrize(
    ("source", "text", "language"),
    [
        ("Open LibreOffice Writer", "LibreOffice Writer öffnen", "de"),
        ("SQL and HTML5", "SQL und HTML5", "de"),
        ("See org.example.calculator.Addin.Analysis here", "Siehe org.example.calculator.Addin.Analysis", "de"),
        ("LibreOffice", "LibreOffice", "ru"),
        ("=SUM(A1:B2)", "=SUM(A1:B2)", "de"),
        ("3.14", "3.14", "ru"),
        ("Yes", "Ja", "de"),
        ("No, no, no, no, no, no, no, no!", "Nein, nein, nein, nein, nein, nein, nein, nein!", "de"),
        ("Press F2 to open the menu of Writer.", "按 F2 打开 Writer 的菜单。", "zh"),
    ],
)
def test_names_codes_numbers_and_short_texts_pass(source: str, text: str, language: str) -> None:
    assert found(source, text, language) == []


@pytest.mark.parametrize("text", ["", "  ", "...", "？！"])
def test_emptied(text: str) -> None:
    assert found(SOURCE, text) == ["emptied"]


@pytest.mark.parametrize(
    ("source", "text", "language"),
    [
        (SOURCE, SOURCE, "de"),
        (SOURCE, SOURCE.upper(), "de"),
        (SOURCE, SOURCE, "ru"),
        (SOURCE, SOURCE.replace("morning", "Morgen"), "de"),
        (SOURCE, f"Ja, {SOURCE}", "de"),
        ("Save file", "Save file", "fr"),
        ("File", "File", "de"),
        (GOOD["zh"], GOOD["zh"], "ja"),
        (GOOD["ru"], GOOD["ru"], "uk"),
    ],
)
def test_copied(source: str, text: str, language: str) -> None:
    assert "copied" in found(source, text, language)


@pytest.mark.parametrize("language", GOOD)
def test_half_copied(language: str) -> None:
    """One sentence of two is not translated, be it the target's script or not."""
    assert "copied" in found(f"{SOURCE} It is white.", f"{SOURCE} {GOOD[language]}", language)
    assert "copied" in found(f"{GOOD[language]} {GOOD[language]}", f"{GOOD[language]} {SOURCE}", "en")


def test_copied_share_is_a_share() -> None:
    assert copied_share(SOURCE, SOURCE) == 1
    assert copied_share(SOURCE, GOOD["de"]) == 0
    assert 0.3 < copied_share(SOURCE, f"{SOURCE} {GOOD['de']}") < 0.6
    assert found(SOURCE, f"{SOURCE} {GOOD['de']}", copied=0.6) == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (GOOD["ru"], "de"),
        (GOOD["de"], "ru"),
        (GOOD["zh"], "ko"),
        (GOOD["hi"], "ur"),
        ("Parom na ostrov otpravlyayetsya kazhdoye utro.", "ru"),
        (GOOD["ru"], "sr-Latn"),
    ],
)
def test_script(text: str, language: str) -> None:
    assert found(SOURCE, text, language) == ["script"]


def test_script_of_kept_names_does_not_count() -> None:
    source = "Open Writer, then Impress and Draw"
    assert found(source, "Откройте Writer, затем Impress и Draw", "ru") == []
    assert found(source, "Open the Writer program first, Impress and Draw later", "ru")[0] in ("copied", "script")


def test_language() -> None:
    failed = Checks().run([SOURCE] * 3, [GOOD["fr"], GOOD["de"], ""], "de", detector=Suspects(GOOD["fr"], ""))
    assert [reasons_of(one) for one in failed] == [["language"], [], ["emptied"]]
    checks = Checks(skip=("language",))
    assert not checks.run([SOURCE], [GOOD["fr"]], "de", detector=Suspects(GOOD["fr"])).any()


LONG = f"{GOOD['de']} Sie ist weiß, und man sieht sie bei klarem Wetter schon von fern über das Meer herankommen."


@pytest.mark.parametrize("text", ["Die Fähre zur Insel.", LONG])
def test_length(text: str) -> None:
    assert found(SOURCE, text) == ["length"]
    assert found(SOURCE, text, ratio=3.0) == []


@pytest.mark.parametrize("language", GOOD)
def test_length_ratio_allows_for_scripts(language: str) -> None:
    assert length_ratio(SOURCE, GOOD[language]) < 1.5
    assert length_ratio(GOOD[language], SOURCE) == pytest.approx(length_ratio(SOURCE, GOOD[language]))


@pytest.mark.parametrize(
    "text",
    [
        "Die Fähre, die Fähre, die Fähre, die Fähre, die Fähre fährt.",
        "Die Fähre zur Insel fährt ab. Die Fähre zur Insel fährt ab.",
        "Die Fähre zur Insel fährt um halb halb halb halb halb halb",
    ],
)
def test_repetition(text: str) -> None:
    assert found(SOURCE, text) == ["repetition"]
    assert "repetition" not in found(text, text)  # the source does it too


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("halb halb halb halb", True),
        ("und halb halb halb halb sechs", True),
        ("ha ha ha ha", False),  # too short
        ("ha ha ha ha ha ha", True),
        ("xxxxxxxxxxxxxxxx", True),
        ("----------------------------", False),
        ("1 2 1 2 1 2 1 2 1 2 1 2 1 2 1 2", False),
        ("eins zwei drei eins zwei drei eins zwei drei", False),  # three times
        ("eins zwei drei eins zwei drei eins zwei drei eins zwei drei", True),
        ("", False),
        ("halb", False),
        ("很好很好很好很好很好很好很好很好", True),
    ],
)
def test_runs(text: str, run: bool) -> None:
    assert has_run(text) is run


def test_reasons_that_are_known_beforehand() -> None:
    known = {"truncated": np.asarray([True, False]), "emptied": np.asarray([True, False])}
    failed = Checks().run([SOURCE] * 2, [GOOD["de"]] * 2, "de", known=known)
    assert [reasons_of(one) for one in failed] == [["emptied", "truncated"], []]


def test_checks_can_be_left_out() -> None:
    assert found(SOURCE, SOURCE) == ["copied"]
    assert found(SOURCE, SOURCE, skip=("copied", "script")) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"skip": ("spelling",)}, "no check 'spelling'. The checks are emptied, copied"),
        ({"copied": 1.5}, r"copied must be in \[0, 1\], got 1.5"),
        ({"ratio": 0.5}, "ratio must be at least 1, got 0.5"),
        ({"ratio": 3.0, "skip": ("length",)}, "ratio has no effect: the check 'length' is skipped"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Checks(**options)
