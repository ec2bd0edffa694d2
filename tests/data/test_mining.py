"""Hard negatives: of the wanted language, the best there are, and never of the query's own passage cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from st_hybrid.data.mining import mine_negatives
from st_hybrid.pairs import parallel_pairs
from st_hybrid.rows import ParallelRows

CODES = ("de", "en", "ko")


@st.composite
def parallel_rows(draw: st.DrawFn) -> Dataset:
    """Groups whose passages and queries are drawn from few texts, so that many share one, some across languages."""
    rows = []
    for number in range(draw(st.integers(3, 7))):
        for code in draw(st.sets(st.sampled_from(CODES), min_size=1)):
            passage, query = draw(st.integers(0, 11)), draw(st.integers(0, 5))
            spoken = draw(st.sampled_from([code, "en"]))
            rows.append(
                {
                    "id": number,
                    "language": code,
                    "query": f"{spoken} ask {query}?",
                    "positive": f"{spoken} say {passage}.",
                }
            )
    return Dataset.from_list(rows)


def answers(rows: Dataset) -> list[set[str]]:
    """For each row, the passages of the clusters of all rows with its query."""
    clusters = ParallelRows(rows, negative_columns=[]).cluster
    passages: dict[int, set[str]] = {}
    asked: dict[str, set[int]] = {}
    for cluster, query, passage in zip(clusters.tolist(), rows["query"], rows["positive"], strict=True):
        passages.setdefault(cluster, set()).add(passage)
        asked.setdefault(query, set()).add(cluster)
    return [set().union(*(passages[cluster] for cluster in asked[query])) for query in rows["query"]]


def candidates(rows: Dataset, row: int, kind: str, right: set[str]) -> set[str]:
    """What may be a negative of a row."""
    code = rows[row]["language"]
    own = {text for text, spoken in zip(rows["positive"], rows["language"], strict=True) if spoken == code}
    return (own if kind == "same" else set(rows["positive"]) - own) - right


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(rows=parallel_rows(), negatives_in=st.sampled_from(["same", "other", "both"]), wanted=st.integers(1, 2))
def test_negatives_are_the_best_outside_the_cluster(
    tiny_model: SentenceTransformer, rows: Dataset, negatives_in: Any, wanted: int
) -> None:
    kinds = ("same", "other") if negatives_in == "both" else (negatives_in,)
    right = answers(rows)
    possible = [[candidates(rows, row, kind, right[row]) for kind in kinds] for row in range(len(rows))]
    enough = [row for row, parts in enumerate(possible) if all(len(part) >= wanted for part in parts)]
    if not enough:
        with pytest.raises(ValueError, match=r"No row has|no negative in another language"):
            mine_negatives(rows, tiny_model, negatives_in=negatives_in, num_negatives=wanted)
        return
    mined = mine_negatives(rows, tiny_model, negatives_in=negatives_in, num_negatives=wanted)
    assert mined.remove_columns([name for name in mined.column_names if "negative" in name]).to_list() == [
        rows[row] for row in enough
    ]
    for place, row in enumerate(enough):
        query = tiny_model.encode_query(rows[row]["query"])
        for number, part in enumerate(possible[row]):
            found = [mined[place][f"negative_{number * wanted + i + 1}"] for i in range(wanted)]
            assert len(set(found)) == wanted
            assert set(found) <= part
            scores = dict(zip(sorted(part), tiny_model.encode_document(sorted(part)) @ query, strict=True))
            best = sorted(scores.values(), reverse=True)[:wanted]
            np.testing.assert_allclose([scores[text] for text in found], best, atol=1e-5)


@pytest.fixture
def rows() -> Dataset:
    return Dataset.from_list(
        [
            {
                "id": number,
                "language": code,
                "query": f"{code} door {number}?",
                "positive": f"{code} Mr {number} lives there.",
            }
            for number in range(6)
            for code in CODES
        ]
    )


def test_pairs_take_the_columns(tiny_model: SentenceTransformer, rows: Dataset) -> None:
    pairs = parallel_pairs(mine_negatives(rows, tiny_model, negatives_in="both"))
    assert set(pairs[0]) == {"query", "positive", "negative_1", "negative_2", "label"}
    crossing = pairs[len(rows)]
    assert crossing["negative_1"][:2] == crossing["positive"][:2]
    assert crossing["negative_2"][:2] != crossing["positive"][:2]


def test_prompts_and_options_reach_the_search(tiny_model: SentenceTransformer, rows: Dataset) -> None:
    asked: list[str] = []
    forward = tiny_model.preprocess

    def preprocess(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        asked.extend(f"{kwargs.get('prompt')}{text}" for text in inputs)
        return forward(inputs, *args, **kwargs)

    tiny_model.preprocess = preprocess  # type: ignore[method-assign]
    second = mine_negatives(rows, tiny_model, query_prompt="ask: ", range_min=1)
    assert "ask: de door 0?" in asked
    assert "passage: de Mr 0 lives there." in asked
    assert len(asked) == len(set(asked)) == 2 * len(rows)
    both = mine_negatives(rows, tiny_model, query_prompt="ask: ", num_negatives=2)
    assert second["negative_1"][:] == both["negative_2"][:]


def test_a_margin_leaves_out_what_is_too_near(tiny_model: SentenceTransformer, rows: Dataset) -> None:
    mined = mine_negatives(rows, tiny_model, num_negatives=3, absolute_margin=0.0)
    assert 0 < len(mined) < len(rows)
    for row in mined:
        query = tiny_model.encode_query(row["query"])
        positive, *negatives = tiny_model.encode_document([row[name] for name in mined.column_names[3:]]) @ query
        assert max(negatives) <= positive + 1e-6


def test_a_draw_has_its_seed(tiny_model: SentenceTransformer, rows: Dataset) -> None:
    drawn = [
        mine_negatives(rows, tiny_model, sampling_strategy="random", range_max=5, seed=seed)["negative_1"][:]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_cannot_be_mined(tiny_model: SentenceTransformer, rows: Dataset) -> None:
    german = rows.filter(lambda row: row["language"] == "de")
    with pytest.raises(ValueError, match="All rows are in 'de'"):
        mine_negatives(german, tiny_model, negatives_in="other")
    with pytest.raises(ValueError, match="already have negatives, in negative_1"):
        mine_negatives(mine_negatives(german, tiny_model), tiny_model)
    with pytest.raises(ValueError, match="No row has 9 negatives"):
        mine_negatives(rows, tiny_model, num_negatives=9)
    with pytest.raises(ValueError, match="negatives_in must be 'same', 'other' or 'both'"):
        mine_negatives(rows, tiny_model, negatives_in="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        mine_negatives(rows, tiny_model, num_negatives=0)
    with pytest.raises(ValueError, match="seed has no effect"):
        mine_negatives(rows, tiny_model, seed=0)
    with pytest.raises(ValueError, match="cross_encoder has no effect without one of max_score"):
        mine_negatives(rows, tiny_model, cross_encoder=object())  # type: ignore[arg-type]


def test_columns_of_other_names_stay(tiny_model: SentenceTransformer, rows: Dataset) -> None:
    named = rows.rename_columns({"query": "question", "positive": "answer"})
    mined = mine_negatives(named, tiny_model, columns={"query": "question", "positive": "answer"})
    assert mined.column_names == ["id", "language", "question", "answer", "negative_1"]
    assert mined["negative_1"][:] == mine_negatives(rows, tiny_model)["negative_1"][:]
