from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from st_hybrid.encoders import load_encoder
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


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_shift_moves_documents_to_the_source_language(biased: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    queries, documents, languages = biased
    settings: dict[str, Any] = {"method": "shift", "source": "de", "strength": 0.25}
    shift = LanguageCentering.from_embeddings(queries, languages, documents, languages, **settings)
    of_pairs = np.concatenate([documents[part : part + 30] - documents[30:60] for part in (0, 30, 60)])
    vector = np.concatenate([np.tile(of_pairs[part : part + 30].mean(axis=0), (30, 1)) for part in (0, 30, 60)])
    expected = unit(documents - 0.25 * vector)  # equation 1 of the paper, over translation pairs
    assert shift.transform(documents, languages, "document") == pytest.approx(expected, abs=1e-6)
    assert shift.transform(queries, languages, "query") == pytest.approx(unit(queries), abs=1e-6)
    assert LanguageCentering.from_embeddings(queries, languages, documents, languages, method="shift").source == "en"


@pytest.mark.parametrize("components", [1, 3])
def test_lir_projects_the_first_directions_out(
    biased: tuple[np.ndarray, np.ndarray, list[str]], components: int
) -> None:
    queries, documents, languages = biased
    given = (queries, languages, documents, languages)
    lir = LanguageCentering.from_embeddings(*given, method="lir", components=components)
    for role, vectors in (("query", queries), ("document", documents)):
        found = lir.transform(vectors, languages, role)  # type: ignore[arg-type]
        for part in (slice(0, 30), slice(30, 60), slice(60, 90)):
            # A matrix less its best approximation of this rank is what is left of the singular value decomposition.
            left, values, right = np.linalg.svd(vectors[part].astype(np.float64), full_matrices=False)
            rest = (left[:, components:] * values[components:]) @ right[components:]
            assert found[part] == pytest.approx(unit(rest), abs=1e-5)
    plain = score_embeddings(queries, documents, collection_of(languages))
    removed = score_embeddings(queries, documents, collection_of(languages), centering=lir)
    assert removed.multilingual.map > plain.multilingual.map + 0.3


@pytest.mark.parametrize("method", ["center", "shift", "lir"])
def test_strength_goes_from_nothing_to_everything(
    biased: tuple[np.ndarray, np.ndarray, list[str]], method: str
) -> None:
    _, texts, languages = biased  # the same as queries and as documents, so that texts of one language lean alike
    none, half, whole = (
        LanguageCentering.from_embeddings(texts, languages, texts, languages, method=method, strength=strength)
        for strength in (0, 0.5, 1)
    )
    assert none.transform(texts, languages, "document") == pytest.approx(unit(texts), abs=1e-6)
    own = [
        np.mean([shares[language] for language, shares in scores.top_10_languages.items()])
        for one in (none, half, whole)
        for scores in [score_embeddings(texts, texts, collection_of(languages), centering=one)]
    ]
    assert own[0] == 1.0
    assert own[0] >= own[1] > own[2]


def test_without_languages_the_nearest_mean_decides(biased: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    queries, documents, languages = biased
    centering = LanguageCentering.from_embeddings(queries, languages, documents, languages)
    means = np.stack(list(centering.means["query"].values()))
    nearest = np.linalg.norm(queries[:, None] - means, axis=2).argmin(axis=1)
    named = np.array(LANGUAGES)[nearest]
    assert centering.nearest_languages(queries, "query").tolist() == named.tolist()
    assert (named == languages).mean() > 0.9
    found = centering.transform(queries, None, "query")
    assert np.array_equal(found, centering.transform(queries, named.tolist(), "query"))


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


@pytest.mark.parametrize("settings", [{}, {"method": "shift", "strength": 0.5}, {"method": "lir", "components": 2}])
def test_is_a_module_of_the_model(tiny_model: SentenceTransformer, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Saved with the model, it loads in a process that imports sentence-transformers alone."""
    texts = ["one", "two", "three", "eins", "zwei", "drei"]
    languages = ["en"] * 3 + ["de"] * 3
    centering = LanguageCentering.fit(tiny_model, texts, languages, texts, languages, **settings)
    expected = {
        "query": centering.transform(tiny_model.encode_query(texts), None, "query"),
        "document": centering.transform(tiny_model.encode_document(texts), None, "document"),
        "none": centering.transform(tiny_model.encode(texts), None, "document"),
    }
    tiny_model.append(centering)
    tiny_model.save_pretrained(str(tmp_path / "model"))
    code = (
        "import sys, numpy, sentence_transformers\n"
        "model = sentence_transformers.SentenceTransformer(sys.argv[1], device='cpu', trust_remote_code=True)\n"
        f"texts = {texts!r}\n"
        "numpy.savez(sys.argv[2], query=model.encode_query(texts), document=model.encode_document(texts),\n"
        "            none=model.encode(texts))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "model", tmp_path / "vectors.npz"], check=True)
    found = np.load(tmp_path / "vectors.npz")
    for role, vectors in expected.items():
        assert found[role] == pytest.approx(vectors, abs=1e-5)

    with pytest.raises(ValueError, match="trust_remote_code=True"):  # for any module of another package
        SentenceTransformer(str(tmp_path / "model"), device="cpu")
    loaded = load_encoder(tmp_path / "model", device="cpu")
    assert loaded.encode_query(texts) == pytest.approx(expected["query"], abs=1e-5)
    assert loaded[-1].get_config_dict() == centering.get_config_dict()
    with pytest.raises(ValueError, match="has language centering already"):
        LanguageCentering.fit(loaded, texts, languages, texts, languages)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="role must be 'query' or 'document', got 'classification'"):
        loaded.encode(texts, task="classification")


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "mean"}, "method must be 'center', 'shift', 'lir'; it is 'mean'"),
        ({"strength": 1.5}, "strength must be from 0 to 1, got 1.5"),
        ({"source": "de"}, "source has no effect on the method 'center'"),
        ({"components": 2}, "components has no effect on the method 'center'"),
        ({"method": "lir", "components": 0}, "components must be at least 1"),
        ({"method": "lir", "components": 2}, "2 components need as many texts .* 1 vectors of 3 in the language en"),
        ({"method": "lir", "unseen": "global"}, "'lir' has no average over languages"),
        ({"method": "shift", "source": "th"}, "no document mean for the source language th, only for en, de"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    vectors = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        LanguageCentering.from_embeddings(vectors, ["en", "de"], vectors, ["en", "de"], **settings)


def test_directions_are_for_lir_alone() -> None:
    known: Any = {role: {"en": np.ones(2, dtype=np.float32)} for role in ("query", "document")}
    directions: Any = {role: {"en": np.ones((1, 2), dtype=np.float32)} for role in ("query", "document")}
    for options in ({"directions": directions}, {"method": "lir"}):
        with pytest.raises(ValueError, match="Give directions for the method 'lir' and for no other"):
            LanguageCentering(known, **options)


def test_passages_in_another_language_than_their_queries_count_for_their_own(tiny_model: SentenceTransformer) -> None:
    rows = [
        {
            "id": number,
            "language": "de",
            "passage_language": "en",
            "query": f"Wo ist {number}?",
            "positive": f"At {number}.",
        }
        for number in range(3)
    ]
    fitted = LanguageCentering.fit_rows(tiny_model, Dataset.from_list(rows))
    assert {role: list(of_role) for role, of_role in fitted.means.items()} == {"query": ["de"], "document": ["en"]}


def test_rows_of_the_same_groups_are_drawn(tiny_model: SentenceTransformer) -> None:
    rows = [
        {"id": number, "language": language, "query": f"{language} {number}?", "positive": f"{number}"}
        for number in range(50)
        for language in ("en", "de", "th")
        if language != "th" or number < 5
    ]
    drawn = LanguageCentering.fit_rows(tiny_model, Dataset.from_list(rows), per_language=8, seed=1).means["document"]
    assert np.array_equal(drawn["en"], drawn["de"])  # their passages are alike in each group
    assert not np.array_equal(drawn["en"], drawn["th"])


def test_what_was_saved_is_replaced_and_nothing_is_left_beside(tmp_path: Path) -> None:
    def of(value: float) -> LanguageCentering:
        vectors = np.full((2, 3), value, dtype=np.float32)
        return LanguageCentering.from_embeddings(vectors, ["en", "de"], vectors, ["en", "de"])

    for value in (1.0, 2.0):
        of(value).save_pretrained(tmp_path)
        assert LanguageCentering.from_pretrained(tmp_path).means["query"]["en"].tolist() == [value] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["language_centering"]
