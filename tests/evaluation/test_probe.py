"""Is a corpus affected? The measures against their definitions, and what must hold of them."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sentence_transformers import SentenceTransformer

from st_hybrid.evaluation import CorpusProbe, probe_corpus, probe_embeddings
from st_hybrid.evaluation.plots import plot_probe

CODES = ["ar", "de", "el"]


def vectors_of(
    counts: dict[str, int], offset: float, *, dimensions: int = 16, seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    """Meanings that do not depend on language, plus a vector per language of length ``offset``."""
    random = np.random.default_rng(seed)
    languages = np.repeat(list(counts), list(counts.values())).tolist()
    of_language = {code: random.standard_normal(dimensions) for code in counts}
    meaning = random.standard_normal((len(languages), dimensions)) / math.sqrt(dimensions)
    shift = np.stack([offset * of_language[code] / np.linalg.norm(of_language[code]) for code in languages])
    return (meaning + shift).astype(np.float32), languages


def by_definition(vectors: np.ndarray, languages: list[str], k: int, seed: int, per_language: int) -> dict[str, Any]:
    """The measures, passage by passage."""
    codes = sorted(set(languages))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = np.random.default_rng(seed).permutation(len(vectors)).tolist()
    seen: dict[str, int] = dict.fromkeys(codes, 0)
    half, searched = {}, []
    for row in order:
        half[row] = seen[languages[row]] % 2
        if seen[languages[row]] < per_language:
            searched.append(row)
        seen[languages[row]] += 1
    mean = {
        (code, part): np.mean([vectors[row] for row in order if languages[row] == code and half[row] == part], axis=0)
        for code in codes
        for part in (0, 1)
    }
    centered = np.stack([vectors[row] - mean[languages[row], 1 - half[row]] for row in range(len(vectors))])
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    found: dict[str, Any] = {"own": {}, "own_centered": {}, "pool": {}}
    for code in codes:
        own: dict[str, list[float]] = {"own": [], "own_centered": []}
        pool = []
        for row in (row for row in searched if languages[row] == code):
            others = [other for other in order if half[other] == half[row] and other != row]
            pool.append(np.mean([languages[other] == code for other in others]))
            for name, space in (("own", vectors), ("own_centered", centered)):
                nearest = sorted(others, key=lambda other, row=row, space=space: -float(space[row] @ space[other]))[:k]
                own[name].append(np.mean([languages[other] == code for other in nearest]))
        found["pool"][code] = np.mean(pool)
        for name, values in own.items():
            found[name][code] = np.mean(values)
    for name, own_name in (("preference", "own"), ("preference_centered", "own_centered")):
        pool = found["pool"]
        found[name] = np.mean([(found[own_name][code] - pool[code]) / (1 - pool[code]) for code in codes])
    right = [
        min(codes, key=lambda code, row=row: np.linalg.norm(vectors[row] - mean[code, 1 - half[row]])) == languages[row]
        for row in range(len(vectors))
    ]
    found["accuracy"] = np.mean(
        [np.mean([good for good, language in zip(right, languages, strict=True) if language == code]) for code in codes]
    )
    return found


@pytest.mark.parametrize(("k", "per_language"), [(1, 400), (5, 400), (10, 31)])
def test_measures_are_as_defined(k: int, per_language: int) -> None:
    vectors, languages = vectors_of({"ar": 61, "de": 90, "el": 55}, 0.7)
    expected = by_definition(vectors, languages, k, 3, per_language)
    probe = probe_embeddings(vectors, languages, k=k, per_language=per_language, seed=3)
    assert probe.passages == 206
    for code, part in probe.languages.items():
        assert part.passages == languages.count(code)
        assert part.pool == pytest.approx(expected["pool"][code])
        assert part.own.value == pytest.approx(part.nearest[code]) == pytest.approx(expected["own"][code])
        assert part.own_centered.value == pytest.approx(expected["own_centered"][code])
        assert sum(part.nearest.values()) == pytest.approx(1)
        assert sum(part.nearest_centered.values()) == pytest.approx(1)
    assert probe.preference.value == pytest.approx(expected["preference"], abs=1e-6)
    assert probe.preference_centered.value == pytest.approx(expected["preference_centered"], abs=1e-6)
    assert probe.nearest_mean_accuracy.value == pytest.approx(expected["accuracy"])


@given(offset=st.floats(0, 3), scale=st.floats(0.01, 100), seed=st.integers(0, 100))
@settings(max_examples=10)
def test_rotation_and_scale_change_nothing(offset: float, scale: float, seed: int) -> None:
    vectors, languages = vectors_of({"de": 60, "el": 70}, offset, seed=seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((16, 16)))
    one, other = (probe_embeddings(each, languages) for each in (vectors, scale * vectors @ rotation))
    for name in ("language_variance", "nearest_mean_accuracy", "preference", "preference_centered"):
        assert getattr(one, name).value == pytest.approx(getattr(other, name).value, abs=0.01), name


def test_vectors_that_are_only_language() -> None:
    vectors = np.eye(3, dtype=np.float32)[np.arange(180) % 3]
    probe = probe_embeddings(vectors, CODES * 60)
    assert probe.language_variance.value == pytest.approx(1)
    assert probe.nearest_mean_accuracy.value == probe.preference.value == 1
    assert probe.preference_centered.value == pytest.approx(0, abs=1e-6)  # all are equal then
    assert probe.advice == "center"


def test_equal_vectors_prefer_no_language() -> None:
    probe = probe_embeddings(np.ones((200, 4), dtype=np.float32), ["de"] * 120 + ["el"] * 80)
    assert probe.language_variance.value == 0
    assert probe.preference.value == pytest.approx(0, abs=1e-6)
    assert probe.advice == "nothing"


@given(seed=st.integers(0, 1000), shares=st.lists(st.integers(50, 200), min_size=2, max_size=5))
def test_vectors_that_do_not_depend_on_language(seed: int, shares: list[int]) -> None:
    vectors, languages = vectors_of({f"l{number}": count for number, count in enumerate(shares)}, 0, seed=seed)
    probe = probe_embeddings(vectors, languages)
    for estimate in (probe.language_variance, probe.preference, probe.preference_centered):
        error = (estimate.high - estimate.low) / 2
        assert abs(estimate.value) < 3 * error + 0.01
    assert probe.advice == "nothing"


def test_intervals_cover_the_value_of_the_corpus() -> None:
    """The intervals of samples hold the mean over many samples about as often as they promise."""
    vectors, languages = vectors_of({"ar": 3000, "de": 6000, "el": 1500}, 0.45)
    random = np.random.default_rng(0)
    names = ("language_variance", "nearest_mean_accuracy", "preference", "preference_centered")
    probes = []
    for _ in range(40):
        rows = random.choice(len(vectors), 700, replace=False)
        probes.append(probe_embeddings(vectors[rows], [languages[row] for row in rows]))
    for name in names:
        estimates = [getattr(probe, name) for probe in probes]
        mean = np.mean([estimate.value for estimate in estimates])
        covered = np.mean([estimate.low <= mean <= estimate.high for estimate in estimates])
        assert covered >= 0.85, name
        spread = np.std([estimate.value for estimate in estimates])
        width = np.mean([estimate.high - estimate.low for estimate in estimates]) / 2 / 1.96
        assert 0.75 * spread < width < 2 * spread, name


def test_explained_variance_is_not_what_chance_explains() -> None:
    """Ten languages of 50 random vectors: their means alone explain about 2%."""
    counts = {f"l{number}": 50 for number in range(10)}
    found = [probe_embeddings(*vectors_of(counts, 0, seed=seed)).language_variance for seed in range(5)]
    assert np.mean([estimate.value for estimate in found]) < 0.005


def test_advice() -> None:
    """An offset of language is centred away; vectors of two languages that share no direction are not."""
    counts = {"de": 200, "el": 200}
    assert probe_embeddings(*vectors_of(counts, 0)).advice == "nothing"
    center = probe_embeddings(*vectors_of(counts, 2))
    assert center.advice == "center"
    assert center.conclusion.startswith("Center:")
    random = np.random.default_rng(0)
    apart = np.zeros((400, 16), dtype=np.float32)
    apart[:200, :8], apart[200:, 8:] = random.standard_normal((2, 200, 8))
    train = probe_embeddings(apart, ["de"] * 200 + ["el"] * 200)
    assert train.advice == "train"
    assert train.conclusion.startswith("Train with hybrid batches:")


def test_languages_with_few_passages_are_named() -> None:
    vectors, languages = vectors_of({"ar": 49, "de": 50, "el": 80, "[th]": 3}, 1)
    probe = probe_embeddings(vectors, languages)
    assert probe.left_out == {"ar": 49, "[th]": 3}
    assert list(probe.languages) == ["de", "el"]
    assert probe.passages == 130
    kept = [row for row, language in enumerate(languages) if language in ("de", "el")]
    assert probe.preference == probe_embeddings(vectors[kept], [languages[row] for row in kept]).preference
    console = Console(width=100)
    with console.capture() as capture:
        console.print(probe)
    assert "ar (49), [th] (3)" in capture.get()


def test_goes_to_json_and_back() -> None:
    probe = probe_embeddings(*vectors_of({"de": 60, "el": 60}, 1))
    content = probe.to_dict()
    assert content["advice"] == probe.advice
    assert content["languages"]["de"]["own"]["value"] == probe.languages["de"].own.value
    assert CorpusProbe.from_dict(content) == probe


def test_corpus_is_encoded_as_documents_and_repeated_passages_count_once(tiny_model: SentenceTransformer) -> None:
    passages = [
        text.format(number) for text in ("Haus {} ist rot.", "Το σπίτι {} είναι κόκκινο.") for number in range(60)
    ]
    languages = ["de"] * 60 + ["el"] * 60
    expected = probe_embeddings(tiny_model.encode(passages, prompt="passage: "), languages)
    assert probe_corpus(tiny_model, passages * 2, languages * 2) == expected
    other = probe_corpus(tiny_model, passages, languages, document_prompt="", seed=1, k=3)
    assert (other.k, other.passages) == (3, 120)
    assert other != expected


def test_errors_come_before_encoding() -> None:
    model: Any = None
    with pytest.raises(ValueError, match="2 passages but 1 languages"):
        probe_corpus(model, ["a", "b"], ["de"])
    with pytest.raises(ValueError, match=r"50 distinct passages .* it has de 1, el 1\."):
        probe_corpus(model, ["a", "a", "b"], ["de", "de", "el"])
    with pytest.raises(ValueError, match=r"it has none\."):
        probe_corpus(model, [], [])
    with pytest.raises(ValueError, match="needs 122 distinct"):
        probe_corpus(model, [str(i) for i in range(240)], ["de", "el"] * 120, k=60)
    with pytest.raises(ValueError, match="k must be at least 1"):
        probe_corpus(model, ["a", "b"], ["de", "el"], k=0)
    with pytest.raises(ValueError, match="not finite"):
        probe_embeddings(np.full((100, 2), np.nan), ["de", "el"] * 50)


def test_picture(tmp_path: Any) -> None:
    probe = probe_embeddings(*vectors_of({"de": 60, "el": 60}, 1))
    plot_probe(probe, tmp_path / "probe.png", title=probe.conclusion)
    pixels = matplotlib.image.imread(tmp_path / "probe.png")[..., :3]
    assert (pixels[0, 0] == 1).all()  # a light background
    for color in ((0xD5, 0x5E, 0), (0, 0x72, 0xB2)):
        assert (np.abs(pixels - np.array(color) / 255) < 0.01).all(axis=-1).sum() > 200
