"""The report on rows counts what is wrong with them, each kind by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from rich.console import Console
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from st_hybrid.data.check import check_rows
from st_hybrid.data.check_report import Limits, RowsReport
from st_hybrid.data.write import write_rows

ENGLISH = "Nobody translated this sentence about the opening hours of the library, so it is still English."


def changed(rows: Dataset, changes: dict[int, dict[str, Any]], more: list[dict[str, Any]] | None = None) -> Dataset:
    made = [{**row, **changes.get(number, {})} for number, row in enumerate(rows)]
    return Dataset.from_list([*made, *(more or [])])


def troubles(report: RowsReport) -> dict[str, dict[str, int]]:
    names = ("empty", "repeated", "duplicates", "untranslated", "wrong_language")
    return {
        name: counts
        for name in names
        if (counts := {code: count for code, one in report.languages.items() if (count := getattr(one, name))})
    }


def test_sound_rows_have_no_problems(rows: Dataset) -> None:
    report = check_rows(rows)
    assert (report.rows, report.groups) == (24, 8)
    assert report.groups_by_languages == {3: 8}
    assert (report.clusters, report.largest_cluster, report.clusters_by_groups) == (8, 3, {1: 8})
    assert troubles(report) == {}
    assert report.problems == []
    assert report.languages["de"].rows == 8
    assert (report.languages["de"].checked_texts or 0) >= 8
    lengths = sorted(len(text) for text, code in zip(rows["query"], rows["language"], strict=True) if code == "de")
    assert report.languages["de"].query_characters.maximum == lengths[-1]


def test_each_trouble_is_counted_by_language(rows: Dataset) -> None:
    dirty = changed(
        rows,
        {1: {"positive": "  "}, 4: {"query": None}, 10: {"positive": ENGLISH}, 13: {"positive": ENGLISH}},
        [rows[0], {**rows[3], "id": "g9"}],
    )
    report = check_rows(dirty)
    assert troubles(report) == {
        "empty": {"de": 2},
        "repeated": {"en": 1},
        "duplicates": {"en": 1},
        "wrong_language": {"de": 2},
    }
    assert report.languages["de"].detected == {"en": 2}
    assert [one["row"] for one in report.examples["wrong_language"]] == [11, 14]
    assert {(one["column"], one["detected"]) for one in report.examples["wrong_language"]} == {("positive", "en")}
    assert [one["row"] for one in report.examples["empty"]] == [2, 5]
    assert [one["row"] for one in report.examples["repeated"]] == [25]
    assert report.clusters == 7  # g1 and g9, and g3 and g4, share a passage
    assert len(report.problems) == 4
    assert any("de: 2 of" in problem and "most often in en" in problem for problem in report.problems)


def test_several_positives_of_a_query_are_no_repeated_rows(rows: Dataset) -> None:
    other = {**rows[0], "positive": "Nobody else ever repairs it, the town council says."}
    assert troubles(check_rows(changed(rows, {}, [other]), detect=False)) == {}
    asked = {**other, "query": "Who pays for that?"}
    assert troubles(check_rows(changed(rows, {}, [asked]), detect=False)) == {"repeated": {"en": 1}}


def test_untranslated_positives_of_a_group(rows: Dataset) -> None:
    report = check_rows(changed(rows, {7: {"positive": rows[6]["positive"]}}), detect=False)
    assert troubles(report) == {"untranslated": {"de": 1, "en": 1}}
    assert report.languages["de"].checked_texts is None
    assert len(report.problems) == 2


def test_near_duplicates_count_across_clusters_only(rows: Dataset) -> None:
    passage = "Der lange Weg zum Turm führt über sieben Brücken und an einer verlassenen Schmiede vorbei, sagt {}."
    close = {number: {"positive": passage.format(name)} for number, name in ((1, "Ida"), (4, "Ina"), (7, "Ida"))}
    report = check_rows(changed(rows, close), detect=False, near_duplicate_threshold=0.7)
    assert (report.passages, report.near_duplicates) == (23, 2)
    limits = Limits(near_duplicates=0.0)
    assert len(check_rows(changed(rows, close), limits, detect=False, near_duplicate_threshold=0.7).problems) == 1
    assert check_rows(rows, detect=False, near_duplicate_threshold=None).near_duplicates is None


def test_limits_decide_what_is_a_problem(rows: Dataset) -> None:
    dirty = changed(rows, {1: {"positive": ""}})
    assert check_rows(dirty, detect=False).problems == ["1 of 24 rows have an empty text (limit 0)."]
    assert check_rows(dirty, Limits(empty=0.05), detect=False).problems == []


def test_samples_short_texts_and_unknown_languages(rows: Dataset) -> None:
    strange = changed(rows, {number: {"language": "tlh"} for number in range(2, 24, 3)})
    report = check_rows(strange, sample=3, min_letters=45)
    assert report.undetectable == ["tlh"]
    assert report.languages["tlh"].checked_texts is None
    long = sum(len("".join(filter(str.isalnum, text))) >= 45 for text in rows["positive"][1::3])
    assert long == 8
    assert 3 <= (report.languages["de"].checked_texts or 0) <= 6


def test_a_language_in_another_script_than_the_detector_knows_is_passed_over() -> None:
    """lingua's Serbian is Cyrillic; Hebrew and Filipino have codes of their own there."""
    texts = {
        "sr-Latn": "Gradska biblioteka je otvorena svakog dana od osam ujutru do osam uveče, broj {}.",
        "iw": "הספרייה העירונית פתוחה בכל ימות השבוע משמונה בבוקר ועד שמונה בערב, מספר {}.",
        "fil": "Ang aklatan ng lungsod ay bukas araw-araw mula alas-otso ng umaga, bilang {}.",
    }
    report = check_rows(
        Dataset.from_list(
            [
                {"id": i, "language": code, "query": text.format(i), "positive": text.format(f"{i}{i}")}
                for i in range(3)
                for code, text in texts.items()
            ]
        )
    )
    assert (report.undetectable, report.problems) == (["sr-Latn"], [])
    assert [report.languages[code].checked_texts for code in texts] == [None, 6, 6]


def test_tokens_and_texts_that_are_too_long(rows: Dataset, tiny_model: SentenceTransformer) -> None:
    report = check_rows(changed(rows, {1: {"positive": "wort " * 60}}), detect=False, model=tiny_model)
    about = report.languages["de"]
    assert about.positive_tokens is not None
    assert about.positive_tokens.maximum == len(b"wort " * 60) + 2  # a token a byte, and two around
    assert about.too_long == 0.125


def test_tokens_of_a_static_encoder(rows: Dataset) -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)])
    about = check_rows(changed(rows, {1: {"positive": "ein Wort " * 60}}), detect=False, model=model).languages["de"]
    assert about.positive_tokens is not None
    assert (about.positive_tokens.maximum, about.too_long) == (120, 0.0)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"id": ["a"], "language": ["de"], "query": ["x"]}, "no column 'positive'"),
        ({"id": ["a"], "language": ["de"], "query": [1], "positive": ["x"]}, "'query' holds int64"),
        ({"id": [], "language": [], "query": [], "positive": []}, "no rows"),
    ],
)
def test_what_cannot_be_checked(broken: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_rows(Dataset.from_dict(broken))


def test_options_without_an_effect_are_refused(rows: Dataset) -> None:
    for options in ({"every_language": True}, {"confidence": 0.5}, {"min_letters": 3}):
        with pytest.raises(ValueError, match="no effect with detect=False"):
            check_rows(rows, detect=False, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="limit of wrong_language has no effect"):
        check_rows(rows, Limits(wrong_language=0.5), detect=False)
    with pytest.raises(ValueError, match="no effect without near_duplicate_threshold"):
        check_rows(rows, Limits(near_duplicates=0.1), detect=False, near_duplicate_threshold=None)


def test_columns_of_other_names(rows: Dataset) -> None:
    named = rows.rename_columns({"query": "question", "id": "key"})
    report = check_rows(named, detect=False, columns={"query": "question", "id": "key"})
    assert report.to_dict() == check_rows(rows, detect=False).to_dict()


def test_rows_without_a_valid_one_are_reported(rows: Dataset) -> None:
    report = check_rows(changed(rows, {number: {"query": ""} for number in range(24)}), detect=False)
    assert report.total("empty") == 24
    assert report.clusters == 0


def test_the_report_is_shown_written_and_drawn(rows: Dataset, tmp_path: Path) -> None:
    report = check_rows(changed(rows, {1: {"positive": ""}}))
    console = Console(width=120, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    console.print(report)
    shown = console.export_text()
    assert "24 rows in 8 groups" in shown
    assert "1 of 24 rows have an empty text" in shown
    report.write(tmp_path / "sub" / "report.json", "data/rows.jsonl")
    told = json.loads((tmp_path / "sub" / "report.json").read_text(encoding="utf-8"))
    assert told["data"] == "rows.jsonl"
    assert told["languages"]["de"]["empty"] == report.languages["de"].empty == 1
    assert told["examples"]["empty"][0]["row"] == 2
    assert "detected" not in told["examples"]["empty"][0]
    report.plot(tmp_path / "languages.png")
    assert (tmp_path / "languages.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_the_commands(
    st_hybrid: Callable[..., str], rows: Dataset, evaluation: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    """The way of a user: check, decontaminate, mine, and train on the result."""
    data, clean, mined = (tmp_path / name for name in ("rows.jsonl", "clean.jsonl", "mined.jsonl"))
    write_rows(rows, data)
    told = st_hybrid("data", "check", data, "--report", tmp_path / "check.json", "--plot", tmp_path / "check.png")
    assert "Every finding is within its limit" in told
    assert (tmp_path / "check.json").is_file()
    assert (tmp_path / "check.png").is_file()
    dirty = tmp_path / "dirty.jsonl"
    write_rows(changed(rows, {1: {"positive": ""}}), dirty)
    assert "empty text" in st_hybrid("data", "check", dirty, "--no-detect", "--no-near-duplicate-threshold", status=3)
    st_hybrid("data", "check", dirty, "--no-detect", "--no-near-duplicate-threshold", "--max.empty", "0.5")
    assert "There is no file" in st_hybrid("data", "check", tmp_path / "missing.jsonl", status=1)

    xquad = ["--against", "XQuAD-R", "--data-dir", evaluation, "--no-verify"]
    assert "removed 3 rows in 1 groups" in st_hybrid("data", "decontaminate", data, *xquad, "--output", clean)
    assert len(clean.read_text(encoding="utf-8").splitlines()) == 21
    assert "is the data" in st_hybrid("data", "decontaminate", data, *xquad, "--output", data, status=1)
    held_out = ["--against", data, "--no-verify", "--output", tmp_path / "other.jsonl"]
    assert "no effect" in st_hybrid("data", "decontaminate", data, *held_out, status=1)
    assert len(data.read_text(encoding="utf-8").splitlines()) == 24

    model = ["--model", tiny_model_path]
    told = st_hybrid("data", "mine", clean, *model, "--negatives-in", "other", "--output", mined)
    assert "21 rows with negative_1" in " ".join(told.split())
    row = json.loads(mined.read_text(encoding="utf-8").splitlines()[0])
    assert row["negative_1"] != row["positive"]

    for name, path in (("checked", clean), ("checked and mined", mined), ("unchecked", data)):
        st_hybrid("train", *model, "--data", path, "--max-steps", "2", "--batch-size", "4", "--output", tmp_path / name)
        card = (tmp_path / name / "README.md").read_text(encoding="utf-8")
        assert ("rows were checked against XQuAD-R" in card) == (name != "unchecked")
