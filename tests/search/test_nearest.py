"""Exact and approximate search against brute force, and resumption after a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from st_hybrid.search.nearest import TopRows, search_index, search_shards, top_rows
from st_hybrid.search.shards import EmbeddingShards

ROWS, DIMENSIONS, QUERIES = 500, 16, 7
RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
ASKED = RANDOM.normal(size=(QUERIES, DIMENSIONS)).astype(np.float32)
CORPUS = Dataset.from_dict({"id": [f"p{i}" for i in range(ROWS)], "text": [str(i) for i in range(ROWS)]})


class Encoder:
    """Gives each text, which is a row number, its vector; counts what it encodes and can break down."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.encoded: list[int] = []
        self.fail_after = fail_after

    def __call__(self, texts: list[str]) -> np.ndarray:
        if self.fail_after is not None and len(self.encoded) >= self.fail_after:
            raise KeyboardInterrupt
        numbers = [int(text) for text in texts]
        self.encoded += numbers
        return VECTORS[numbers]


def brute_force(similarity: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    queries, vectors = ASKED.astype(np.float64), VECTORS.astype(np.float64)
    if similarity == "euclidean":
        scores = -np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    else:
        if similarity == "cosine":
            queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = queries @ vectors.T
    rows = np.argsort(-scores, axis=1)[:, :k]
    return rows, np.take_along_axis(scores, rows, axis=1)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("shard_rows", [64, 500, 1000])
def test_shards_rank_as_brute_force_does(similarity: str, shard_rows: int):
    shards = EmbeddingShards(CORPUS, Encoder(), "model", shard_rows)
    found = search_shards(ASKED, shards, 100, similarity=similarity, show_progress_bar=False)
    rows, scores = brute_force(similarity, 100)
    assert (found.rows == rows).all()
    np.testing.assert_allclose(found.scores, scores, rtol=0, atol=1e-5)


@given(st.integers(1, 600), st.integers(50, 600))
def test_any_shard_size_gives_the_same_rows(k: int, shard_rows: int):
    shards = EmbeddingShards(CORPUS, Encoder(), "model", shard_rows)
    found = search_shards(ASKED, shards, k, show_progress_bar=False)
    whole = top_rows(ASKED, VECTORS, k)
    assert (found.rows == whole.rows).all()
    np.testing.assert_allclose(found.scores, whole.scores, rtol=0, atol=1e-6)


def test_a_corpus_smaller_than_k_leaves_places_empty():
    found = top_rows(ASKED, VECTORS[:3], 5)
    assert (np.sort(found.rows, axis=1) == [-1, -1, 0, 1, 2]).all()
    assert np.isneginf(found.scores[:, 3:]).all()
    merged = found.merge(TopRows.none(QUERIES, 5))
    assert (merged.rows == found.rows).all()


@pytest.mark.parametrize("kept", [True, False])
def test_a_killed_run_continues_at_the_last_finished_shard(tmp_path: Path, kept: bool):
    folder, resume_file = (tmp_path / "shards", None) if kept else (None, tmp_path / "search.safetensors")

    def run(encoder: Encoder, folder: Path | None) -> TopRows:
        shards = EmbeddingShards(CORPUS, encoder, "model", 100, folder)
        return search_shards(ASKED, shards, 50, resume_file=resume_file, show_progress_bar=False)

    with pytest.raises(KeyboardInterrupt):
        run(Encoder(fail_after=300), folder)
    rest = Encoder()
    resumed = run(rest, folder)
    assert sorted(rest.encoded) == list(range(300, 500))
    assert not list(tmp_path.glob("*search*"))

    whole = run(Encoder(), None if folder is None else tmp_path / "others")
    assert (resumed.rows == whole.rows).all()
    assert (resumed.scores == whole.scores).all()


@pytest.mark.parametrize("change", ["model", "texts", "queries", "similarity", "k", "damage"])
def test_the_state_of_another_search_is_not_used(tmp_path: Path, change: str):
    resume_file = tmp_path / "search.safetensors"
    shards = EmbeddingShards(CORPUS, Encoder(fail_after=300), "model", 100)
    with pytest.raises(KeyboardInterrupt):
        search_shards(ASKED, shards, 50, resume_file=resume_file, show_progress_bar=False)
    if change == "damage":
        resume_file.write_bytes(resume_file.read_bytes()[:-4])
    corpus, encoder = CORPUS.select([*range(1, ROWS), 0]) if change == "texts" else CORPUS, Encoder()
    search_shards(
        ASKED[::-1] if change == "queries" else ASKED,
        EmbeddingShards(corpus, encoder, "other" if change == "model" else "model", 100),
        51 if change == "k" else 50,
        similarity="dot" if change == "similarity" else "cosine",
        resume_file=resume_file,
        show_progress_bar=False,
    )
    assert len(encoder.encoded) == ROWS


def test_a_file_to_resume_from_is_refused_where_shards_are_kept(tmp_path: Path):
    shards = EmbeddingShards(CORPUS, Encoder(), "model", 100, tmp_path)
    with pytest.raises(ValueError, match="resume_file has no effect"):
        search_shards(ASKED, shards, 50, resume_file=tmp_path / "search.safetensors")


def test_an_index_is_measured_against_exact_search(tmp_path: Path):
    encoder = Encoder()
    shards = EmbeddingShards(CORPUS, encoder, "model", 128, tmp_path)
    options = {"similarity": "cosine", "memory": 10**9, "show_progress_bar": False}
    found, recall = search_index(ASKED, shards, 100, "IVF4,Flat", parameters="nprobe=4", **options)
    rows, _ = brute_force("cosine", 100)
    assert (found.rows == rows).mean() > 0.95  # float16 on disk may swap neighbours
    assert recall == pytest.approx(1.0, abs=0.01)

    encoder.encoded.clear()
    few, low = search_index(ASKED, shards, 100, "IVF4,Flat", parameters="nprobe=1", **options)
    assert not encoder.encoded
    expected = np.mean([np.isin(mine, true).mean() for mine, true in zip(rows, few.rows, strict=True)])
    assert low == pytest.approx(expected, abs=0.01)
    assert low < 0.9


@pytest.mark.parametrize(
    ("factory", "parameters", "memory", "message"),
    [
        ("IVF4,Nonsense", "", 10**9, "faiss cannot build 'IVF4,Nonsense'"),
        ("Flat", "nprobe=4", 10**9, "faiss cannot build 'Flat' with the search parameters 'nprobe=4'"),
        ("Flat", "", 1000, "more than the 0.0 GB"),
    ],
)
def test_an_index_that_cannot_be_is_refused(tmp_path: Path, factory: str, parameters: str, memory: int, message: str):
    encoder = Encoder()
    shards = EmbeddingShards(CORPUS, encoder, "model", 128, tmp_path)
    with pytest.raises(ValueError, match=message):
        search_index(ASKED, shards, 10, factory, parameters=parameters, memory=memory, show_progress_bar=False)
    assert not encoder.encoded


def test_an_unknown_similarity_is_refused():
    with pytest.raises(ValueError, match="cannot rank by 'manhattan'"):
        top_rows(ASKED, VECTORS, 3, "manhattan")
