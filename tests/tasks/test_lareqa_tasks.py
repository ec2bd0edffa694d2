"""XQuAD-R and MLQA-R in mteb: one pass against mteb's ordinary way, subset by subset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.cache import ResultCache
from mteb.models.cache_wrappers import CachedEmbeddingWrapper
from mteb.models.search_wrappers import SearchEncoderWrapper

from st_hybrid.encoders import load_encoder
from st_hybrid.evaluation import evaluate_retrieval
from st_hybrid.tasks import LareqaTask, group_means
from st_hybrid.tasks.means import LAREQA_MEASURES, mean_scores

from .conftest import CountingEncoder, Reranker

QUIET = {"show_progress_bar": False, "batch_size": 16}


def get_task(name: str, data: Path, **filters: Any) -> LareqaTask:
    task = mteb.get_task(name, **filters)
    assert isinstance(task, LareqaTask)
    task.data_dir, task.verify = data, False
    return task


def run(model: Any, task: LareqaTask, **options: Any) -> dict[str, dict[str, Any]]:
    options = {"cache": None, "encode_kwargs": dict(QUIET), "show_progress_bar": False, **options}
    (result,) = mteb.evaluate(model, task, **options).task_results
    return {of_subset["hf_subset"]: of_subset for of_subset in result.scores["test"]}


@pytest.mark.parametrize(("name", "languages"), [("XQuAD-R", 11), ("MLQA-R", 7)])
def test_each_text_is_encoded_once_for_all_subsets(
    name: str, languages: int, lareqa_data: Path, encoder: CountingEncoder
):
    task = get_task(name, lareqa_data)
    scores = run(encoder, task)
    assert len(scores) == languages * (languages + 1)
    assert set(encoder.encoded.values()) == {1}
    task.load_data()
    assert task.collection is not None
    expected = {("query", text) for text in task.collection.queries}
    assert set(encoder.encoded) == expected | {("document", text) for text in task.collection.passages}


@pytest.mark.parametrize("name", ["XQuAD-R", "MLQA-R"])
def test_one_pass_gives_what_the_command_gives(name: str, lareqa_data: Path, encoder: CountingEncoder):
    task = get_task(name, lareqa_data)
    scores = run(encoder, task)
    task.load_data()
    assert task.collection is not None
    expected = evaluate_retrieval(encoder.model, task.collection)
    assert set(scores) == set(expected.per_pair)
    for subset, of_subset in scores.items():
        for measure in LAREQA_MEASURES:
            if measure == "rank_distance" and not subset.endswith("multi"):
                continue
            value = getattr(expected.per_pair[subset], measure)
            assert of_subset[measure] == pytest.approx(value, abs=1e-9), (subset, measure)
        assert of_subset["main_score"] == of_subset["map"]
    means = mean_scores(name, scores)
    for kind, of_kind in expected.by_setting.items():
        values = {measure: value for measure, value in of_kind.to_dict().items() if measure in LAREQA_MEASURES}
        assert {measure: means[kind][measure] for measure in values} == pytest.approx(values, abs=1e-9)
    assert means["multilingual"]["rank_distance"] == pytest.approx(expected.rank_distance)


def test_a_model_with_its_own_search_gets_the_same_scores(lareqa_data: Path, encoder: CountingEncoder):
    subsets = ["en-en", "en-de", "vi-ar", "de-multi"]
    one_pass = run(encoder, get_task("MLQA-R", lareqa_data, hf_subsets=subsets))
    subset_wise = run(SearchEncoderWrapper(encoder), get_task("MLQA-R", lareqa_data, hf_subsets=subsets))
    assert set(one_pass) == set(subset_wise) == set(subsets)
    for subset in subsets:
        assert one_pass[subset].keys() == subset_wise[subset].keys()
        for measure in one_pass[subset]:
            if measure in LAREQA_MEASURES:
                assert subset_wise[subset][measure] == pytest.approx(one_pass[subset][measure], abs=1e-6)


def test_scores_are_those_of_mteb_s_ordinary_task(lareqa_data: Path, encoder: CountingEncoder):
    """The same subsets as a task that knows nothing of ours: mteb's search, and trec_eval."""
    ours = get_task("XQuAD-R", lareqa_data, hf_subsets=["en-en", "el-th", "tr-multi"])
    ours.load_data()

    class Ordinary(AbsTaskRetrieval):
        metadata = ours.metadata.model_copy(update={"name": "Ordinary", "main_score": "ndcg_at_10"})

        def load_data(self, **_: Any) -> None:
            self.dataset, self.data_loaded = ours.dataset, True

    expected = run(encoder, Ordinary().filter_languages(None, hf_subsets=ours.hf_subsets))
    scores = run(encoder, ours)
    assert set(scores) == set(expected)
    for subset, of_subset in scores.items():
        for measure in ("recall_at_1", "recall_at_10", "ndcg_at_10", "mrr_at_10"):
            assert of_subset[measure] == pytest.approx(expected[subset][measure], abs=2e-5), (subset, measure)
        assert of_subset["map"] == pytest.approx(expected[subset]["map_at_1000"], abs=2e-5)


def test_bm25_takes_the_ordinary_way(lareqa_data: Path):
    scores = run(mteb.get_model("mteb/baseline-bm25s"), get_task("XQuAD-R", lareqa_data, hf_subsets=["en-en", "en-de"]))
    assert scores["en-en"]["map"] > scores["en-de"]["map"]
    assert set(LAREQA_MEASURES) - {"rank_distance"} <= set(scores["en-de"])


@pytest.mark.parametrize("kind", ["Sparse", "MultiVector"])
def test_sparse_and_multi_vector_encoders_take_the_ordinary_way(
    lareqa_data: Path, sparse_model_path: Path, multi_vector_model_path: Path, kind: str
):
    if not hasattr(mteb.models, {"Sparse": "SparseEncoderWrapper", "MultiVector": "MultiVectorWrapper"}[kind]):
        pytest.skip("this mteb does not know such encoders")
    model = load_encoder({"Sparse": sparse_model_path, "MultiVector": multi_vector_model_path}[kind], device="cpu")
    subsets = ["en-en", "en-multi"]
    scores = run(model, get_task("XQuAD-R", lareqa_data, hf_subsets=subsets))
    task = get_task("XQuAD-R", lareqa_data, hf_subsets=subsets)
    task.load_data()
    assert task.collection is not None
    expected = evaluate_retrieval(model, task.collection).per_pair
    for subset, of_subset in scores.items():
        assert of_subset["map"] == pytest.approx(expected[subset].map, abs=1e-3)
    assert "rank_distance" in scores["en-multi"]


def test_what_a_search_leaves_out_ranks_last(lareqa_data: Path, encoder: CountingEncoder):
    class Nothing(SearchEncoderWrapper):
        def search(self, queries: Any, **_: Any) -> dict[str, dict[str, float]]:
            return {query: {} for query in queries["id"]}

    scores = run(Nothing(encoder), get_task("XQuAD-R", lareqa_data, hf_subsets=["en-en", "en-multi"]))
    task = get_task("XQuAD-R", lareqa_data)
    task.load_data()
    assert task.collection is not None
    assert scores["en-en"]["map"] == pytest.approx(1 / task.collection.passage_counts["en"])
    assert scores["en-multi"]["rank_distance"] == len(task.collection.passages) - 1


def test_a_constant_model_is_no_better_than_chance(lareqa_data: Path, encoder: CountingEncoder):
    class Constant(CountingEncoder):
        def encode(self, inputs: Any, **kwargs: Any) -> np.ndarray:
            return np.ones_like(super().encode(inputs, **kwargs))

    constant = Constant(encoder.model)
    for model in (constant, SearchEncoderWrapper(constant)):
        scores = run(model, get_task("XQuAD-R", lareqa_data, hf_subsets=["en-en", "en-multi"]))
        assert scores["en-en"]["recall_at_1"] == 0
        assert scores["en-multi"]["ndcg_at_10"] == 0


def test_a_cross_encoder_is_refused(lareqa_data: Path):
    with pytest.raises(TypeError, match="XQuAD-R does not support CrossEncoders"):
        run(Reranker(), get_task("XQuAD-R", lareqa_data))


def test_only_the_languages_of_the_subsets_are_read(lareqa_data: Path, encoder: CountingEncoder):
    task = get_task("XQuAD-R", lareqa_data, hf_subsets=["en-de"])
    run(encoder, task)
    assert {(role, text.split(":")[0]) for role, text in encoder.encoded} == {("query", "en"), ("document", "de")}
    encoder.encoded.clear()
    run(encoder, get_task("MLQA-R", lareqa_data, hf_subsets=["en-multi"]))
    assert {text.split(":")[0] for role, text in encoder.encoded if role == "query"} == {"en"}
    assert len({text.split(":")[0] for role, text in encoder.encoded if role == "document"}) == 7


def test_results_come_back_from_mteb_s_files(lareqa_data: Path, encoder: CountingEncoder, tmp_path: Path):
    cache = ResultCache(tmp_path)
    some = get_task("XQuAD-R", lareqa_data, hf_subsets=["en-en", "en-de"])
    first = run(encoder, some, cache=cache)
    encoded = sum(encoder.encoded.values())
    again = run(encoder, get_task("XQuAD-R", lareqa_data, hf_subsets=["en-en", "en-de"]), cache=cache)
    assert sum(encoder.encoded.values()) == encoded
    assert again["en-de"]["map"] == pytest.approx(first["en-de"]["map"], abs=1e-6)

    more = get_task("XQuAD-R", lareqa_data, hf_subsets=["en-en", "en-de", "de-en"])
    scores = run(encoder, more, cache=cache)
    assert set(scores) == {"en-en", "en-de", "de-en"}
    table = cache.load_results(tasks=[more]).to_dataframe(aggregation_level="subset")
    assert set(table["subset"]) == {"en-en", "en-de", "de-en"}


def test_means_of_a_result(lareqa_data: Path, encoder: CountingEncoder):
    task = get_task("XQuAD-R", lareqa_data)
    (result,) = mteb.evaluate(
        encoder, task, cache=None, encode_kwargs=dict(QUIET), show_progress_bar=False
    ).task_results
    means = group_means(result)
    scores = result.scores["test"]
    assert list(means) == ["monolingual", "cross_lingual", "multilingual"]
    cross = [s["map"] for s in scores if len(set(s["hf_subset"].split("-")) - {"multi"}) == 2]
    assert len(cross) == 110
    assert means["cross_lingual"]["map"] == pytest.approx(np.mean(cross))
    assert "rank_distance" in means["multilingual"]
    assert "rank_distance" not in means["monolingual"]


def test_mteb_s_embedding_cache_works(lareqa_data: Path, encoder: CountingEncoder, tmp_path: Path):
    plain = run(encoder, get_task("XQuAD-R", lareqa_data, hf_subsets=["en-de"]))
    cached = CachedEmbeddingWrapper(encoder, tmp_path)
    for _ in range(2):
        scores = run(cached, get_task("XQuAD-R", lareqa_data, hf_subsets=["en-de"]))
        assert scores["en-de"]["map"] == pytest.approx(plain["en-de"]["map"], abs=1e-6)
    assert set(encoder.encoded.values()) == {2}


def test_predictions_are_written(lareqa_data: Path, encoder: CountingEncoder, tmp_path: Path):
    subsets = ["en-de", "en-multi"]
    run(encoder, get_task("XQuAD-R", lareqa_data, hf_subsets=subsets), prediction_folder=tmp_path / "one")
    run(
        SearchEncoderWrapper(encoder),
        get_task("XQuAD-R", lareqa_data, hf_subsets=subsets),
        prediction_folder=tmp_path / "other",
    )
    one, other = (
        json.loads((tmp_path / name / "XQuAD-R_predictions.json").read_text(encoding="utf-8"))
        for name in ("one", "other")
    )
    for subset in subsets:
        assert one[subset]["test"].keys() == other[subset]["test"].keys()
        for query, scores in one[subset]["test"].items():
            assert scores == pytest.approx(other[subset]["test"][query], abs=1e-5)


def test_prompts_are_those_of_the_model(lareqa_data: Path, encoder: CountingEncoder):
    task = get_task("XQuAD-R", lareqa_data, hf_subsets=["en-de"])
    with_prompts = run(encoder, task)
    encoder.model_prompts = {"XQuAD-R-query": "ask: ", "document": "passage: "}
    other = run(encoder, get_task("XQuAD-R", lareqa_data, hf_subsets=["en-de"]))
    task.load_data()
    assert task.collection is not None
    expected = evaluate_retrieval(encoder.model, task.collection, query_prompt="ask: ")
    assert other["en-de"]["map"] == pytest.approx(expected.per_pair["en-de"].map)
    assert other["en-de"] != with_prompts["en-de"]


def test_missing_data_are_an_error_before_any_encoding(tmp_path: Path, encoder: CountingEncoder):
    with pytest.raises(FileNotFoundError, match=r"en\.json"):
        run(encoder, get_task("XQuAD-R", tmp_path))
    assert not encoder.encoded


def test_other_data_than_the_published_are_refused(lareqa_data: Path, encoder: CountingEncoder):
    task = get_task("MLQA-R", lareqa_data)
    task.verify = True
    with pytest.raises(ValueError, match="does not hold the published files"):
        run(encoder, task)
    assert not encoder.encoded
