"""MIRACL in mteb, from a folder in its official layout and from a data set in mteb's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import pytrec_eval
from datasets import Dataset
from mteb.cache import ResultCache
from mteb.models.search_wrappers import SearchEncoderWrapper

from st_hybrid.evaluation.miracl import PAPER_LANGUAGES, PUBLISHED_COUNTS
from st_hybrid.tasks import MIRACL, ShardedSearch, group_means
from st_hybrid.tasks.means import mean_scores
from st_hybrid.tasks.miracl_task import load_miracl

from .conftest import CountingEncoder, Reranker

WriteMiracl = Callable[..., Path]
QUIET = {"show_progress_bar": False, "batch_size": 16}


def run(model: Any, folder: Path, languages: list[str], cache: ResultCache | None = None) -> mteb.TaskResult:
    task = mteb.get_task("MIRACL", hf_subsets=languages)
    assert isinstance(task, MIRACL)
    task.data_dir = folder
    (result,) = mteb.evaluate(model, task, cache=cache, encode_kwargs=dict(QUIET), show_progress_bar=False).task_results
    return result


def test_scores_agree_with_pytrec_eval(write_miracl: WriteMiracl, encoder: CountingEncoder):
    folder = write_miracl(["sw"], passages=130, queries=60)
    (scores,) = run(encoder, folder, ["sw"]).scores["dev"]

    data = load_miracl("sw", folder)
    queries = encoder.model.encode_query(data["queries"]["text"][:])
    titles, texts = data["corpus"]["title"][:], data["corpus"]["text"][:]
    passages = encoder.model.encode_document([f"{title} {text}" for title, text in zip(titles, texts, strict=True)])
    similarities = queries.astype(np.float64) @ passages.T
    found = {
        query: dict(zip(data["corpus"]["id"][:], row.tolist(), strict=True))
        for query, row in zip(data["queries"]["id"][:], similarities, strict=True)
    }
    evaluator = pytrec_eval.RelevanceEvaluator(data["relevant_docs"], {"ndcg_cut.10", "recall.100"})
    expected = list(evaluator.evaluate(found).values())
    assert len(expected) == 60
    for measure, name in (("ndcg_cut_10", "ndcg_at_10"), ("recall_100", "recall_at_100")):
        assert scores[name] == pytest.approx(np.mean([of_query[measure] for of_query in expected]), abs=1e-5)
    assert scores["main_score"] == scores["ndcg_at_10"]
    assert 0 < scores["ndcg_at_10"] < scores["recall_at_100"] < 1


def test_every_way_to_search_gives_the_same(write_miracl: WriteMiracl, encoder: CountingEncoder):
    folder = write_miracl(["sw"], passages=80, queries=10)
    of_ways = [run(way, folder, ["sw"]).scores["dev"][0] for way in (encoder, SearchEncoderWrapper(encoder))]
    measures = [name for name, value in of_ways[0].items() if isinstance(value, float) and not np.isnan(value)]
    assert {"ndcg_at_10", "recall_at_100", "map_at_1000"} <= set(measures)
    for measure in measures:
        assert of_ways[0][measure] == pytest.approx(of_ways[1][measure], abs=1e-5), measure


def test_bm25_takes_mteb_s_way(write_miracl: WriteMiracl):
    folder = write_miracl(["sw", "fi"], passages=40, queries=10)
    scores = run(mteb.get_model("mteb/baseline-bm25s"), folder, ["sw", "fi"]).scores["dev"]
    assert [of_language["recall_at_100"] for of_language in scores] == [1.0, 1.0]
    assert all(of_language["ndcg_at_10"] > 0.9 for of_language in scores)


def test_means_over_all_languages_and_over_the_paper_s(write_miracl: WriteMiracl, encoder: CountingEncoder):
    folder = write_miracl(list(PUBLISHED_COUNTS), passages=12, queries=2)
    result = run(encoder, folder, list(PUBLISHED_COUNTS))
    scores = {of_language["hf_subset"]: of_language for of_language in result.scores["dev"]}
    assert len(scores) == 18
    every = np.mean([of_language["ndcg_at_10"] for of_language in scores.values()])
    paper = np.mean([scores[language]["ndcg_at_10"] for language in PAPER_LANGUAGES])
    assert every != pytest.approx(paper, abs=1e-9)
    means, recall = group_means(result), [of_language["recall_at_100"] for of_language in scores.values()]
    assert means["all"] == pytest.approx({"ndcg_at_10": every, "recall_at_100": np.mean(recall)})
    assert means["paper"]["ndcg_at_10"] == pytest.approx(paper)
    del scores["yo"], scores["th"]
    assert list(mean_scores("MIRACL", scores)) == ["all"]


def test_results_come_back_from_mteb_s_files(write_miracl: WriteMiracl, encoder: CountingEncoder, tmp_path: Path):
    folder, cache = write_miracl(["sw", "fi"], passages=20, queries=2), ResultCache(tmp_path / "results")
    run(encoder, folder, ["sw"], cache)
    encoder.encoded.clear()
    result = run(encoder, folder, ["sw", "fi"], cache)
    assert {of_language["hf_subset"] for of_language in result.scores["dev"]} == {"sw", "fi"}
    assert not any("Passage sw" in text for _, text in encoder.encoded)


def test_the_recall_of_an_index_stands_beside_the_score(write_miracl: WriteMiracl, encoder: CountingEncoder):
    folder = write_miracl(["sw"], passages=200, queries=5)
    search = ShardedSearch(encoder, index_factory="IVF2,Flat", index_parameters="nprobe=2")
    (scores,) = run(search, folder, ["sw"]).scores["dev"]
    assert scores["index_recall_at_100"] == pytest.approx(1.0, abs=0.02)
    (exact,) = run(encoder, folder, ["sw"]).scores["dev"]
    assert "index_recall_at_100" not in exact


def test_mteb_s_copy_on_the_hub_is_read(
    write_miracl: WriteMiracl, encoder: CountingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same collection as a data set repository in mteb's layout, here a folder."""
    folder = write_miracl(["sw"], passages=30, queries=4)
    data, repository = load_miracl("sw", folder), tmp_path / "repository"
    qrels = [(q, p, score) for q, judged in data["relevant_docs"].items() for p, score in judged.items()]
    parts = {
        "corpus": data["corpus"].rename_column("id", "_id"),
        "queries": data["queries"].rename_column("id", "_id"),
        "qrels": Dataset.from_dict(
            dict(zip(("query-id", "corpus-id", "score"), zip(*qrels, strict=True), strict=True))
        ),
    }
    card = "---\nconfigs:\n"
    for name, part in parts.items():
        path = repository / f"sw-{name}" / "dev-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        part.to_parquet(str(path))
        card += f"- config_name: sw-{name}\n  data_files:\n  - split: dev\n    path: sw-{name}/dev-*\n"
    (repository / "README.md").write_text(card + "---\n", encoding="utf-8")

    expected = run(encoder, folder, ["sw"]).scores["dev"][0]
    monkeypatch.delenv("ST_HYBRID_DATA", raising=False)
    monkeypatch.setitem(MIRACL.metadata.dataset, "path", str(repository))
    task = mteb.get_task("MIRACL", hf_subsets=["sw"])
    (result,) = mteb.evaluate(
        encoder, task, cache=None, encode_kwargs=dict(QUIET), show_progress_bar=False
    ).task_results
    assert result.scores["dev"][0]["ndcg_at_10"] == expected["ndcg_at_10"]


def test_the_copy_on_the_hub_is_pinned():
    assert len(MIRACL.metadata.revision) == 40


def test_a_cross_encoder_is_refused(write_miracl: WriteMiracl):
    with pytest.raises(TypeError, match="MIRACL does not support CrossEncoders"):
        run(Reranker(), write_miracl(["sw"], passages=5, queries=2), ["sw"])


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="MIRACL has no language 'el', only ar, bn"):
        load_miracl("el")
