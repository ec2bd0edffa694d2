from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from st_hybrid.evaluation import CrossLingualRetrievalEvaluator, RetrievalCollection, evaluate_retrieval
from st_hybrid.evaluation.results import MIXED_MEASURES


@pytest.fixture
def collection() -> RetrievalCollection:
    """Twelve questions and their answers in two languages."""
    code, number = np.arange(24) // 12, np.arange(24) % 12
    words = [("How long is rope", "Rope has the length"), ("Wie lang ist Seil", "Das Seil hat die Länge")]
    pairs = np.argwhere(number[:, None] == number)
    return RetrievalCollection(
        name="ropes",
        languages=("en", "de"),
        query_ids=[f"q{n}" for n in number],
        queries=[f"{words[c][0]} {n}?" for c, n in zip(code, number, strict=True)],
        query_languages=code,
        passage_ids=[f"c{n}" for n in range(24)],
        passages=[f"{words[c][1]} {n * n}." for c, n in zip(code, number, strict=True)],
        passage_languages=code,
        relevant_queries=pairs[:, 0],
        relevant_passages=pairs[:, 1],
    )


def test_metrics_are_those_of_the_evaluation(
    collection: RetrievalCollection, tiny_model: SentenceTransformer, tmp_path: Path
) -> None:
    evaluator = CrossLingualRetrievalEvaluator(collection, name="ropes")
    metrics = evaluator(tiny_model, str(tmp_path), epoch=1, steps=20)
    scores = evaluate_retrieval(tiny_model, collection)
    assert evaluator.primary_metric == "ropes_multilingual_map"
    assert evaluator.greater_is_better
    assert len(metrics) == 23
    for kind in ("monolingual", "cross_lingual", "multilingual"):
        for measure, value in scores.by_setting[kind].to_dict().items():
            assert metrics[f"ropes_{kind}_{measure}"] == value
    for measure in MIXED_MEASURES:
        assert metrics[f"ropes_{measure}"] == getattr(scores, measure)

    evaluator(tiny_model, str(tmp_path), epoch=2, steps=40)
    with (tmp_path / "Cross-Lingual-Retrieval_evaluation_ropes_results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["steps"]) for row in rows] == [("1", "20"), ("2", "40")]
    assert float(rows[0]["multilingual_map"]) == scores.multilingual.map
    assert float(rows[0]["rank_correlation"]) == scores.rank_correlation


def test_sample_centering_and_configuration(collection: RetrievalCollection, tiny_model: SentenceTransformer) -> None:
    evaluator = CrossLingualRetrievalEvaluator(collection, sample=5, seed=2, centering="evaluated", query_prompt="Q: ")
    expected = evaluate_retrieval(tiny_model, collection.sample(5, seed=2), centering="evaluated", query_prompt="Q: ")
    assert evaluator(tiny_model)["multilingual_map"] == expected.multilingual.map
    assert evaluator.get_config_dict() == {
        "collection": "ropes-sample5",
        "languages": ["en", "de"],
        "queries": 10,
        "passages": 10,
        "sample": 5,
        "seed": 2,
        "centering": "evaluated",
        "query_prompt": "Q: ",
    }


def test_one_language_has_no_cross_lingual_metrics(tiny_model: SentenceTransformer, tmp_path: Path) -> None:
    collection = RetrievalCollection(
        name="one",
        languages=("en",),
        query_ids=["q"],
        queries=["Where?"],
        query_languages=np.array([0]),
        passage_ids=["a", "b"],
        passages=["Here.", "There."],
        passage_languages=np.array([0, 0]),
        relevant_queries=np.array([0]),
        relevant_passages=np.array([1]),
    )
    metrics = CrossLingualRetrievalEvaluator(collection)(tiny_model, str(tmp_path))
    assert "monolingual_map" in metrics
    assert "multilingual_map" in metrics
    assert not any("cross_lingual" in metric or metric in MIXED_MEASURES for metric in metrics)


def test_trainer_picks_the_best_checkpoint_and_the_card_shows_the_metrics(
    collection: RetrievalCollection, tiny_model: SentenceTransformer, tmp_path: Path
) -> None:
    rows = Dataset.from_dict({"query": list(collection.queries), "positive": list(collection.passages)})
    evaluator = CrossLingualRetrievalEvaluator(collection, name="ropes")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=4,
        per_device_train_batch_size=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_ropes_multilingual_map",
        report_to=[],
        use_cpu=True,
    )
    trainer = SentenceTransformerTrainer(
        model=tiny_model,
        args=arguments,
        train_dataset=rows,
        loss=MultipleNegativesRankingLoss(tiny_model),
        evaluator=evaluator,
    )
    trainer.train()
    logged = [
        log["eval_ropes_multilingual_map"] for log in trainer.state.log_history if "eval_ropes_rank_distance" in log
    ]
    assert len(logged) == 2
    assert trainer.state.best_metric == max(logged)
    tiny_model.save_pretrained(str(tmp_path / "model"))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "Cross Lingual Retrieval" in card
    assert "multilingual_map" in card
