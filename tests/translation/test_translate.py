"""From rows in one language to parallel rows."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid import parallel_pairs
from st_hybrid.translation import (
    REASONS,
    Checks,
    FunctionTranslator,
    ModelOptions,
    ModelTranslator,
    translate_rows,
)
from st_hybrid.translation.translate import token_batches

from ..models import translate_words
from .test_checks import GOOD, SOURCE

NO_CHECKS = Checks(skip=tuple(REASONS))
FORM = Checks(skip=("language",))


class Recorder:
    """A function that turns letters into the next ones, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], str, str]] = []

    def __call__(self, texts: list[str], source: str, target: str) -> list[str]:
        self.calls.append((texts, source, target))
        return [shifted(text, target) for text in texts]

    def asked(self, target: str) -> Counter[str]:
        return Counter(text for texts, _, to in self.calls for text in texts if to == target)


def shifted(text: str, target: str) -> str:
    by = len(target)
    return "".join(
        chr(ord("a") + (ord(letter) - ord("a") + by) % 26) if letter.isalpha() else letter for letter in text
    )


def monolingual(*texts: tuple[str, str], **more: list[str]) -> Dataset:
    rows = {"id": list(range(len(texts))), "query": [a for a, _ in texts], "positive": [b for _, b in texts]}
    return Dataset.from_dict({**rows, **more})


def translate(rows: Dataset, languages: list[str], function: Callable[..., list[str]], **options: object) -> Dataset:
    given = {"language": "en", "checks": NO_CHECKS, **options}
    return translate_rows(rows, languages, function, **given)[0]


def test_every_text_is_translated_into_every_language() -> None:
    rows = monolingual(("abc", "cat dog"), ("xyz", "ox"), negative=["no", "not"], other=["left", "out"])
    made = translate(rows, ["de", "yue"], Recorder())
    assert made.column_names == ["id", "language", "query", "positive", "negative"]
    expected = [
        {
            "id": row["id"],
            "language": language,
            **{name: shifted(row[name], language) for name in ("query", "positive", "negative")},
        }
        for language in ("de", "yue")
        for row in rows
    ]
    originals = [
        {"language": "en", **{name: row[name] for name in made.column_names if name != "language"}} for row in rows
    ]
    assert made.to_list() == [{name: row[name] for name in made.column_names} for row in originals] + expected
    assert len(parallel_pairs(made)) > 0


def test_equal_sentences_are_translated_once_a_language() -> None:
    rows = monolingual(
        ("same.", "same. other. same."), ("same.", "other."), ("new.", "same."), negative=["same.", "new.", "12."]
    )
    function = Recorder()
    made, report = translate_rows(rows, ["de", "fr"], function, language="en", checks=NO_CHECKS)
    for target in ("de", "fr"):
        assert function.asked(target) == {"same.": 1, "other.": 1, "new.": 1}
    assert (report.pieces, report.reused) == (6, 0)
    assert made[3]["positive"] == " ".join(shifted(text, "de") for text in ("same.", "other.", "same."))


def test_batches_stay_within_the_tokens_and_begin_with_the_longest() -> None:
    rows = monolingual(*((f"{'q' * (3 * n + 1)}", "p" * (5 * n + 2)) for n in range(40)))
    function = Recorder()
    translate(rows, ["de"], function, max_batch_tokens=60)
    lengths = [[-(-len(text) // 4) for text in texts] for texts, _, _ in function.calls]
    assert sum(map(len, lengths)) == len(set(rows["query"]) | set(rows["positive"]))
    assert all(len(batch) * max(batch) <= 60 for batch in lengths)
    assert [max(batch) for batch in lengths] == sorted((max(batch) for batch in lengths), reverse=True)
    assert len(lengths) > 5


def test_groups_keep_what_they_have() -> None:
    """The first row of an id is the source, and only what an id lacks is made."""
    rows = Dataset.from_dict(
        {
            "id": ["a", "a", "b", "c", "c", "c"],
            "language": ["en", "de", "fr", "de", "en", "fr"],
            "query": ["aen", "ade", "bfr", "cde", "cen", "cfr"],
            "positive": ["pen", "pde", "pfr", "pde", "pen", "pfr"],
        }
    )
    function = Recorder()
    made = translate(rows, ["fr", "de"], function, language=None)
    assert {(source, target): sorted(texts) for texts, source, target in function.calls} == {
        ("en", "fr"): ["aen", "pen"],
        ("fr", "de"): ["bfr", "pfr"],
    }
    assert Counter((row["id"], row["language"]) for row in made) == Counter(
        [*zip(rows["id"], rows["language"], strict=True), ("a", "fr"), ("b", "de")]
    )


@given(
    st.lists(st.tuples(st.text("abc. ", min_size=1), st.text("abc. ", min_size=1)), min_size=1, max_size=8),
    st.integers(1, 40),
)
def test_rows_and_texts_belong_together(texts: list[tuple[str, str]], max_batch_tokens: int) -> None:
    texts = [(f"a{query}", f"b{positive}") for query, positive in texts]
    made = translate(monolingual(*texts), ["de"], Recorder(), sentences=False, max_batch_tokens=max_batch_tokens)
    assert made.filter(lambda row: row["language"] == "de").to_list() == [
        {
            "id": number,
            "language": "de",
            "query": shifted(query, "de").strip(),
            "positive": shifted(positive, "de").strip(),
        }
        for number, (query, positive) in enumerate(texts)
    ]


def test_what_has_no_letters_is_never_sent_to_the_model() -> None:
    function = Recorder()
    made, report = translate_rows(
        monolingual(("12", "3.5 %"), ("—", "7")), ["de"], function, language="en", checks=FORM
    )
    assert not function.calls
    assert made["query"][:] == ["12", "—", "12", "—"]
    assert report.languages["de"].suspicious == {}


def test_many_rows() -> None:
    """More than are written at once."""
    texts = [(f"q{number % 7}", chr(ord("a") + number % 26) * (1 + number % 11)) for number in range(25_000)]
    made = translate(monolingual(*texts), ["de"], Recorder())
    assert len(made) == 50_000
    table = made.with_format("arrow")[25_000:]
    assert table["id"].to_pylist() == list(range(25_000))
    assert table["positive"].to_pylist() == [shifted(positive, "de") for _, positive in texts]


@pytest.mark.parametrize("given", [["a"], ["a", "b", "c"], ["a", None]])
def test_a_translator_that_returns_something_else(given: list[str]) -> None:
    with pytest.raises(ValueError, match=r"mine must give 2 texts, not \['a'"):
        translate(monolingual(("a", "b")), ["de"], FunctionTranslator(lambda *_: given, "mine"))


class TestSuspicious:
    """Rows whose translation looks wrong."""

    texts = ((SOURCE, "One."), (SOURCE, "Two."), ("Three.", SOURCE), ("Four.", "Five."))

    @pytest.fixture(autouse=True)
    def _answers(self) -> None:
        self.answers = {SOURCE: GOOD["de"], "One.": "Eins.", "Two.": "Два.", "Three.": "", "Four.": "Vier."}
        self.answers["Five."] = "Fünf."

    def answer(self, texts: list[str], source: str, target: str) -> list[str]:
        return [self.answers[text] for text in texts]

    def test_are_left_out_and_counted(self) -> None:
        made, report = translate_rows(monolingual(*self.texts), ["de"], self.answer, language="en", checks=FORM)
        assert [(row["id"], row["language"]) for row in made] == [(n, "en") for n in range(4)] + [(0, "de"), (3, "de")]
        assert report.languages["de"].rows == 4
        assert report.languages["de"].suspicious == {"emptied": 1, "script": 1}
        assert (report.given, report.groups, report.kept, report.kept_suspicious) == (4, 4, 6, False)

    def test_or_kept_and_marked(self) -> None:
        rows = monolingual(*self.texts)
        made, report = translate_rows(rows, ["de"], self.answer, language="en", checks=FORM, keep_suspicious=True)
        assert made["suspicious"][:] == [None] * 4 + [None, "script", "emptied", None]
        assert report.languages["de"].suspicious == {"emptied": 1, "script": 1}
        assert report.kept == len(made) == 8

    def test_a_row_counts_for_its_first_reason(self) -> None:
        self.answers = {**self.answers, SOURCE: SOURCE}
        rows = monolingual(*self.texts)
        made, report = translate_rows(rows, ["de"], self.answer, language="en", checks=FORM, keep_suspicious=True)
        assert made["suspicious"][4:] == ["copied", "copied, script", "emptied, copied", None]
        assert report.languages["de"].suspicious == {"emptied": 1, "copied": 2}

    def test_one_empty_sentence_is_enough(self) -> None:
        rows = monolingual((SOURCE, f"One. Three. {SOURCE}"))
        _, report = translate_rows(rows, ["de"], self.answer, language="en", checks=FORM)
        assert report.languages["de"].suspicious == {"emptied": 1}

    def test_another_language_is_found_with_lingua(self) -> None:
        self.answers = {SOURCE: GOOD["fr"], **dict.fromkeys(("One.", "Two.", "Three.", "Four.", "Five."), "Ja.")}
        rows = monolingual(*self.texts)
        made, report = translate_rows(rows, ["de", "yue"], self.answer, language="en", keep_suspicious=True)
        assert made["suspicious"][4:8] == ["language"] * 3 + [None]  # though no row is to be French
        assert report.languages["de"].language_checked
        assert not report.languages["yue"].language_checked

    def test_without_lingua_the_other_checks_are_made(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setitem(sys.modules, "lingua", None)
        _, report = translate_rows(monolingual(*self.texts), ["de"], self.answer, language="en")
        assert report.languages["de"].suspicious == {"emptied": 1, "script": 1}
        assert not report.languages["de"].language_checked
        assert "st-hybrid[check]" in caplog.text

    def test_what_the_model_did_not_read_to_the_end(self) -> None:
        translator = FunctionTranslator(self.answer)
        translator.max_source_length = 10  # a quarter of the bytes
        made, _ = translate_rows(
            monolingual(*self.texts), ["de"], translator, language="en", checks=FORM, keep_suspicious=True
        )
        assert made["suspicious"][4:] == ["truncated", "script, truncated", "emptied, truncated", None]


class TestJournal:
    """Runs that go on where one was killed, and runs with more to do."""

    rows = monolingual(*((f"{'q' * (n + 3)} ask", f"{'p' * (n + 5)} tell") for n in range(30)))

    def test_a_run_that_was_stopped_goes_on_and_makes_the_same(self, tmp_path: Path) -> None:
        whole = Recorder()
        expected = translate(self.rows, ["de", "fr"], whole, max_batch_tokens=20).to_list()

        class Stopped(Exception):
            pass

        class Stopping(Recorder):
            def __call__(self, texts: list[str], source: str, target: str) -> list[str]:
                if len(self.calls) == 9:
                    raise Stopped
                return super().__call__(texts, source, target)

        stopping, again = Stopping(), Recorder()
        options = {"max_batch_tokens": 20, "journal": tmp_path / "journal"}
        with pytest.raises(Stopped):
            translate(self.rows, ["de", "fr"], FunctionTranslator(stopping, "f"), **options)
        made, report = translate_rows(
            self.rows,
            ["de", "fr"],
            FunctionTranslator(again, "f"),
            language="en",
            checks=NO_CHECKS,
            **options,
        )
        assert made.to_list() == expected
        assert stopping.calls + again.calls == whole.calls  # the very batches, none of them twice
        assert len(stopping.calls) == 9
        assert report.reused == sum(len(texts) for texts, _, _ in stopping.calls)

    def test_more_rows_and_languages_take_what_is_there(self, tmp_path: Path) -> None:
        first, second = Recorder(), Recorder()
        options = {"max_batch_tokens": 20, "journal": tmp_path / "journal"}
        translate(self.rows.select(range(0, 30, 2)), ["de"], FunctionTranslator(first, "f"), **options)
        made = translate(self.rows, ["de", "fr"], FunctionTranslator(second, "f"), **options)
        assert not first.asked("de") & second.asked("de")
        assert first.asked("de") + second.asked("de") == second.asked("fr")
        assert made.to_list() == translate(self.rows, ["de", "fr"], Recorder(), max_batch_tokens=20).to_list()

    def test_another_translator_takes_nothing(self, tmp_path: Path) -> None:
        for name, asks in (("one", True), ("two", True), ("one", False)):
            function = Recorder()
            translate(self.rows, ["de"], FunctionTranslator(function, name), journal=tmp_path / "journal")
            assert bool(function.calls) is asks


@pytest.mark.parametrize("back_end", ["transformers", "ctranslate2"])
def test_with_a_model(nllb_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back_end: str) -> None:
    monkeypatch.setenv("ST_HYBRID_CACHE", str(tmp_path))
    rows = monolingual(("sun", "rain wind. snow"), ("moon star cloud", "sun"), ("storm", "12"))
    made, report = translate_rows(
        rows,
        ["de", "rus_Cyrl"],
        ModelTranslator(nllb_path, ModelOptions(back_end, device="cpu")),
        language="en",
        checks=FORM,
        max_batch_tokens=20,
    )
    assert [row["query"] for row in made][3:6] == [translate_words(query, "deu_Latn") for query in rows["query"]]
    assert made[6]["language"] == "rus_Cyrl"
    assert made[6]["query"] == "солнце"
    assert made[5]["positive"] == "12"
    assert report.tokens > 0


class TestBadInput:
    """One clear error, before the model is loaded."""

    rows = monolingual(("abc", "cat dog"), ("xyz", "ox"))

    @pytest.fixture
    def model(self, nllb_path: Path, tmp_path: Path) -> ModelTranslator:
        """A model without weights: loading it would be another error."""
        for path in nllb_path.iterdir():
            if path.suffix != ".safetensors":
                (tmp_path / path.name).write_bytes(path.read_bytes())
        return ModelTranslator(tmp_path, ModelOptions(device="cpu"))

    @pytest.mark.parametrize(
        ("change", "languages", "language", "said"),
        [
            ({}, ["german"], "en", r"no language 'german'\. Did you mean 'de'"),
            ({}, ["de", "deu_Latn"], "en", "has one language for de, deu_Latn"),
            ({}, [], "en", "Name at least one language"),
            ({}, ["de"], None, r"no column 'language'\. Give the language of all rows"),
            ({}, ["de"], "english", r"language: 'english' .* Did you mean 'en'"),
            ({}, ["de"], "fr", r"no language 'fr'\. It has de, en, ru"),
            ({}, ["de"], "de", "nothing to translate"),
            ({"language": ["en", "en"]}, ["de"], "en", "have a column 'language'. Do not give a language of all rows"),
            ({"query": ["abc", " "]}, ["de"], "en", "'query' is null or empty in row 1"),
            ({"positive": [None, "ox"]}, ["de"], "en", "'positive' is null or empty in row 0"),
            ({"id": [None, "1"]}, ["de"], "en", "'id' is null or empty in row 0"),
            ({"id": ["1", "1"]}, ["de"], "en", r"row 1 repeats \('1', 'en'\)"),
            ({"positive": None}, ["de"], "en", "no column 'positive'"),
        ],
    )
    def test_is_said(
        self,
        model: ModelTranslator,
        change: dict[str, list[str] | None],
        languages: list[str],
        language: str | None,
        said: str,
    ) -> None:
        columns = {**self.rows.to_dict(), **change}
        rows = Dataset.from_dict({name: values for name, values in columns.items() if values is not None})
        with pytest.raises(ValueError, match=said):
            translate_rows(rows, languages, model, language=language)
        with pytest.raises(OSError, match="safetensors"):  # and good input gets as far as the model
            translate_rows(self.rows, ["de"], model, language="en")

    def test_no_rows(self, model: ModelTranslator) -> None:
        with pytest.raises(ValueError, match="There are no rows"):
            translate_rows(self.rows.select([]), ["de"], model, language="en")

    def test_options_without_an_effect(self) -> None:
        with pytest.raises(ValueError, match="keep_suspicious has no effect"):
            translate_rows(self.rows, ["de"], Recorder(), language="en", checks=NO_CHECKS, keep_suspicious=True)

    def test_no_tokens(self) -> None:
        with pytest.raises(ValueError, match="max_batch_tokens must be positive, got 0"):
            translate_rows(self.rows, ["de"], Recorder(), language="en", max_batch_tokens=0)


def test_reports_are_for_people_and_for_files() -> None:
    from rich.console import Console

    made, report = translate_rows(monolingual((SOURCE, "One.")), ["de", "yue"], lambda texts, *_: texts, language="en")
    console = Console(width=120, record=True)
    console.print(report)
    text = console.export_text()
    assert "copied (not translated): 1" in text
    assert "language: not checked" in text  # yue
    stored = json.loads(json.dumps(report.to_dict()))
    assert stored["languages"]["de"] == {"language_checked": True, "rows": 1, "suspicious": {"copied": 1}}
    assert set(REASONS) >= set(stored["languages"]["de"]["suspicious"])
    assert np.isclose(stored["seconds"], report.seconds)
    assert len(made) == 1


@given(st.lists(st.integers(0, 60), max_size=80), st.integers(1, 200))
def test_batches_hold_every_text_once_and_stay_within_the_tokens(lengths: list[int], max_tokens: int) -> None:
    batches = token_batches(lengths, max_tokens)
    assert sorted(number for batch in batches for number in batch.tolist()) == list(range(len(lengths)))
    tokens = np.maximum(np.asarray(lengths, dtype=int), 1)
    for batch in batches:
        padded = len(batch) * tokens[batch].max()
        assert padded <= max_tokens or len(batch) == 1
    for batch, following in pairwise(batches):
        assert tokens[batch].min() >= tokens[following].max()  # the longest first
        assert (len(batch) + 1) * tokens[batch[0]] > max_tokens  # and as full as they can be


def test_texts_of_a_length_keep_their_order() -> None:
    assert [batch.tolist() for batch in token_batches([3, 9, 4, 3], 12)] == [[1], [2, 0, 3]]
    assert token_batches([], 10) == []
