"""Texts of any kind, from the reader to the scores; and vectors that cannot be ranked are reported with their texts."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from st_hybrid import HybridBatchSampler, LanguageCentering, parallel_pairs
from st_hybrid.data import check_rows, mine_negatives, open_rows, write_rows
from st_hybrid.encode_ahead import encode_miracl
from st_hybrid.evaluation import RetrievalCollection, evaluate_retrieval, probe_corpus

ODD = ["", " ", "\x00", "\u200d", "\u202eabc\u202c", "\U0001f469\U0001f3fd\u200d\U0001f680", "ไทยไทย", "שלוםabc漢字"]
ODD += ["\u2028", "\ufeff", "a\u0301" * 50, "\x85", "𝒳", "a"]
TEXT = st.sampled_from(ODD) | st.text(max_size=12)
CODES = st.sampled_from(["en", "ar", "th", "zh-Hant"])
GROUPS = st.lists(st.dictionaries(CODES, st.tuples(TEXT, TEXT), min_size=1), min_size=2, max_size=5)


def rows_of(groups: list[dict[str, tuple[str, str]]]) -> list[dict[str, Any]]:
    return [
        {"id": number, "language": code, "query": query, "positive": positive}
        for number, group in enumerate(groups)
        for code, (query, positive) in group.items()
    ]


def from_reader_to_scores(groups: list[dict[str, tuple[str, str]]], model: SentenceTransformer) -> None:
    """What is read is what was written, less empty texts, and every score is a number."""
    given = rows_of(groups)
    kept = [row for row in given if row["query"].strip() and row["positive"].strip()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
        try:
            rows, report = open_rows(path)
        except ValueError:
            if kept:
                raise
            return
        assert report.kept == len(rows)
        read = rows.to_list()
        assert [row for row in given if row in read] == read
        assert all(row in read for row in kept)
        write_rows(rows, Path(folder) / "again.jsonl")
        assert open_rows(Path(folder) / "again.jsonl").rows.to_list() == read
    check_rows(rows, detect=False)
    pairs = parallel_pairs(rows)
    for part in (pairs[number] for number in range(min(len(pairs), 20))):
        assert {part["query"], part["positive"]} <= {text for row in read for text in (row["query"], row["positive"])}
    with suppress(ValueError):  # too few rows for a batch
        batches = list(HybridBatchSampler(pairs, 2, False))
        assert {number for batch in batches for number in batch} <= set(range(len(pairs)))
    scores = evaluate_retrieval(model, RetrievalCollection.from_rows(rows), centering="evaluated")
    for setting in scores.per_pair.values():
        assert all(value is None or math.isfinite(value) for value in asdict(setting).values())


EXTREME = [
    {"en": ("x" * 1_000_000, "same"), "ar": ("\u202e" * 9 + "x", "same")},
    {"en": ("y", "z\x00z"), "th": ("\u200dq", ODD[5])},
]


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(groups=GROUPS)
@example(groups=EXTREME)
def test_any_text_from_the_reader_to_the_scores(groups: list[Any], tiny_model: SentenceTransformer) -> None:
    from_reader_to_scores(groups, tiny_model)


@pytest.mark.full
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(groups=GROUPS)
def test_ten_thousand_sets_of_texts(groups: list[Any], tiny_model: SentenceTransformer) -> None:
    from_reader_to_scores(groups, tiny_model)


@pytest.mark.parametrize("text", [r"\ud800", r"a\udfff", r"\ud83d \ude00"])
def test_half_a_surrogate_pair_is_refused_with_its_line(text: str, tmp_path: Path) -> None:
    row = '{"id": 1, "language": "en", "query": "%s", "positive": "b"}\n'
    (tmp_path / "rows.jsonl").write_text(row % "fine" + row % text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows.jsonl:2: .*surrogate"):
        open_rows(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("code", ["xx", "\x00", "en\u202e", "🏴", "e" * 1000, "../en", "<b>"])
def test_unknown_languages_are_refused_with_their_line(code: str, tmp_path: Path) -> None:
    row = {"id": 1, "language": code, "query": "a", "positive": "b"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows\.jsonl:1.*not the code of a language"):
        open_rows(tmp_path / "rows.jsonl")


@pytest.fixture
def broken_model(tiny_model: SentenceTransformer) -> SentenceTransformer:
    """A model that gives NaN for each text with a "Z"."""
    transformer: Any = tiny_model[0]
    weights = transformer.auto_model.embeddings.word_embeddings.weight
    with torch.no_grad():
        weights[transformer.tokenizer.convert_tokens_to_ids("Z")] = np.nan
    return tiny_model


def test_vectors_that_are_not_finite_are_reported_with_their_texts(
    broken_model: SentenceTransformer, tmp_path: Path, write_miracl: Callable[..., Path], st_hybrid: Callable[..., str]
) -> None:
    broken_model.save_pretrained(str(tmp_path / "model"))
    path = tmp_path / "rows.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number in range(60):
            for code in ("en", "de"):
                row = {"id": number, "language": code, "query": f"{code} {number}?"}
                positive = f"the Zoo of {code} {number}" if number == 7 else f"{code} text {number}."
                print(json.dumps({**row, "positive": positive}), file=lines)
    model, zoo = ["--model", tmp_path / "model"], "the Zoo of en 7"
    for command in (
        ["evaluate", *model, "--data", path, "--output", tmp_path / "scores.json"],
        ["center", *model, "--data", path],
        ["data", "mine", path, *model, "--output", tmp_path / "mined.jsonl"],
        ["probe", *model, "--data", path],
        ["train", *model, "--data", path, "--output", tmp_path / "out", "--anchor", "en", "--batch-size", "4"],
    ):
        told = st_hybrid(*command, status=1)
        assert zoo in told, (command, told)
        assert "not finite" in told
    rows = open_rows(path).rows
    for work in (
        lambda: mine_negatives(rows, broken_model),
        lambda: LanguageCentering.fit_rows(broken_model, rows),
        lambda: probe_corpus(broken_model, rows["positive"][:], rows["language"][:]),
    ):
        with pytest.raises(ValueError, match=r"2 of 120 texts are not finite: text \d+, 'the Zoo of "):
            work()
    folder = write_miracl(["sw"], passages=3, queries=1)
    name = tmp_path / "model"
    for part in broken_model[0].auto_model.embeddings.word_embeddings.weight.data:  # type: ignore[union-attr]
        part.fill_(np.nan)
    broken_model.save_pretrained(str(name))
    with pytest.raises(ValueError, match=r"passage '0#0' is not finite in float16: 'Title sw 0 Passage sw 0 about"):
        encode_miracl(str(name), tmp_path / "vectors", data_dir=folder, show_progress_bar=False)
