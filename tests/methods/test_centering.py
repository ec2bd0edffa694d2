from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from st_hybrid.evaluation import RetrievalCollection, evaluate_retrieval, score_embeddings
from st_hybrid.methods.centering import LanguageCentering

LANGUAGES = ["en", "de", "th"]


@pytest.fixture
def biased() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Queries and documents of 30 meanings in three languages whose vectors lean strongly to their language."""
    rng = np.random.default_rng(0)
    meaning = rng.standard_normal((30, 16))
    meaning -= meaning.mean(axis=0)
    vectors = [
        np.concatenate([meaning + 4 * rng.standard_normal(16) for _ in LANGUAGES]).astype(np.float32) for _ in range(2)
    ]
    return vectors[0], vectors[1], np.repeat(LANGUAGES, 30).tolist()


def collection_of(languages: list[str]) -> RetrievalCollection:
    codes = np.array([LANGUAGES.index(language) for language in languages])
    meaning = np.arange(len(languages)) % 30
    pairs = np.argwhere(meaning[:, None] == meaning)
    return RetrievalCollection(
        name="biased",
        languages=LANGUAGES,
        query_ids=[f"q{number}" for number in meaning],
        queries=[f"{language} question {number}" for language, number in zip(languages, meaning, strict=True)],
        query_languages=codes,
        passage_ids=[f"c{number}" for number in range(len(languages))],
        passages=[f"{language} answer {number}" for language, number in zip(languages, meaning, strict=True)],
        passage_languages=codes,
        relevant_queries=pairs[:, 0],
        relevant_passages=pairs[:, 1],
    )


def test_centring_removes_a_language_offset(biased: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    queries, documents, languages = biased
    collection = collection_of(languages)
    plain = score_embeddings(queries, documents, collection)
    means = LanguageCentering.from_embeddings(queries, languages, documents, languages)
    centred = score_embeddings(queries, documents, collection, centering=means)
    assert plain.multilingual.map < 0.6
    assert centred.multilingual.map == 1.0
    assert centred.rank_distance == 2
    assert score_embeddings(queries, documents, collection, centering="evaluated") == centred


def test_each_role_and_language_has_its_own_mean(biased: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    queries, documents, languages = biased
    means = LanguageCentering.from_embeddings(queries, languages, documents, languages)
    assert means.means["query"]["de"] == pytest.approx(queries[30:60].mean(axis=0), abs=1e-5)
    assert means.means["document"]["th"] == pytest.approx(documents[60:].mean(axis=0), abs=1e-5)
    some = [70, 3, 40]
    expected = documents[some] - np.stack([means.means["document"][languages[number]] for number in some])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    centred = means.transform(documents[some], [languages[number] for number in some], "document")
    assert centred.dtype == np.float32
    assert centred == pytest.approx(expected, abs=1e-6)


def test_fit_encodes_with_the_prompts_of_the_model(tiny_model: SentenceTransformer) -> None:
    texts, languages = ["one", "eins", "two", "zwei"], ["en", "de", "en", "de"]
    means = LanguageCentering.fit(tiny_model, texts, languages, texts, languages)
    expected = tiny_model.encode(["one", "two"], prompt="query: ").mean(axis=0)
    assert means.means["query"]["en"] == pytest.approx(expected, abs=1e-5)
    expected = tiny_model.encode(["eins", "zwei"], prompt="passage: ").mean(axis=0)
    assert means.means["document"]["de"] == pytest.approx(expected, abs=1e-5)


def test_saves_beside_the_model_and_loads(
    tiny_model: SentenceTransformer, tmp_path: Path, biased: tuple[np.ndarray, np.ndarray, list[str]]
) -> None:
    collection = collection_of(biased[2])
    means = LanguageCentering.fit(
        tiny_model, collection.queries, biased[2], collection.passages, biased[2], unseen="keep"
    )
    tiny_model.save_pretrained(str(tmp_path))
    means.save_pretrained(tmp_path)
    loaded = LanguageCentering.from_pretrained(tmp_path)
    model = SentenceTransformer(str(tmp_path), device="cpu")
    assert loaded.unseen == "keep"
    assert evaluate_retrieval(model, collection, centering=loaded) == evaluate_retrieval(
        tiny_model, collection, centering=means
    )
    with pytest.raises(FileNotFoundError, match="holds no language means"):
        LanguageCentering.from_pretrained(tmp_path / "1_Pooling")


def test_language_without_a_mean() -> None:
    vectors = np.array([[1, 0], [3, 4], [5, 4]], dtype=np.float32)
    known = {"en": vectors[0], "de": vectors[1]}
    means = {"query": known, "document": known}
    with pytest.raises(ValueError, match=r"no query mean for the language th, only for en, de\..*unseen='keep'"):
        LanguageCentering(means).transform(vectors, ["en", "de", "th"], "query")
    keep = LanguageCentering(means, unseen="keep").transform(vectors[2:], ["th"], "query")
    assert keep == pytest.approx(vectors[2:] / np.sqrt(41))
    everyone = LanguageCentering(means, unseen="global").transform(vectors[2:], ["th"], "query")
    assert everyone == pytest.approx(np.array([[3, 2]]) / np.sqrt(13))


def test_any_code_of_a_language_finds_its_mean() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    centering = LanguageCentering.from_embeddings(vectors, ["iw", "de"], vectors, ["he", "deu"])
    other = np.array([[0.0, 2.0], [3.0, 1.0]], dtype=np.float32)
    for role in ("query", "document"):
        expected = centering.transform(other, centering.languages[role], role)  # type: ignore[arg-type]
        assert np.array_equal(centering.transform(other, ["he", "de-AT"], role), expected)  # type: ignore[arg-type]


def test_rows_without_a_draw_are_refused(tiny_model: SentenceTransformer) -> None:
    rows = Dataset.from_list([{"id": 1, "language": "de", "query": "Wo?", "positive": "Hier."}])
    with pytest.raises(ValueError, match="per_language must be at least 1, got 0"):
        LanguageCentering.fit_rows(tiny_model, rows, per_language=0)


def test_a_vector_equal_to_its_mean_becomes_zero() -> None:
    vector = np.full((1, 3), 0.1, dtype=np.float32)
    means = LanguageCentering.from_embeddings(vector, ["en"], vector, ["en"])
    assert means.transform(vector, ["en"], "query").tolist() == [[0, 0, 0]]


def test_errors() -> None:
    vectors = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="2 texts but 1 languages"):
        LanguageCentering.from_embeddings(vectors, ["en"], vectors, ["en", "de"])
    with pytest.raises(ValueError, match="There are 0 texts"):
        LanguageCentering.from_embeddings(vectors[:0], [], vectors, ["en", "de"])
    with pytest.raises(ValueError, match="of one length"):
        LanguageCentering.from_embeddings(vectors, ["en", "de"], vectors[:, :2], ["en", "de"])
    with pytest.raises(ValueError, match="roles query, document"):
        LanguageCentering({"query": {"en": vectors[0]}})
    means = LanguageCentering.from_embeddings(vectors, ["en", "de"], vectors, ["en", "de"])
    with pytest.raises(ValueError, match="role must be"):
        means.transform(vectors, ["en", "de"], "passage")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unseen must be"):
        LanguageCentering(means.means, unseen="ignore")  # type: ignore[arg-type]
