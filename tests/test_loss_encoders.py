"""The loss for sparse and multi-vector encoders: sentence-transformers' own losses are the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SparseEncoder,
    SparseEncoderTrainer,
    SparseEncoderTrainingArguments,
)
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
from sentence_transformers.multi_vector_encoder.scoring import mean_colbert_scores
from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss
from torch import Tensor, nn
from transformers import AutoTokenizer, BertForMaskedLM

from st_hybrid import (
    HybridBatchSampler,
    HybridTrainer,
    MultilingualMultipleNegativesRankingLoss,
    parallel_pairs,
)

from .recorded_training import parallel_rows

TEXTS = [
    ["Who keeps the bees?", "When?", "Wo wächst Hopfen am besten und warum?"],
    ["An old man does.", "In May, when the nights are short and warm.", "In Bayern."],
    ["Nobody.", "Nie.", "On the slope behind the mill, for the sun."],
]
DISTINCT = torch.tensor([[0, 0, 1], [1, 0, 1], [2, 1, 0]])


@pytest.fixture
def multi_vector(tiny_model_path: Path) -> MultiVectorEncoder:
    torch.manual_seed(0)
    return MultiVectorEncoder(str(tiny_model_path), device="cpu").eval()


@pytest.fixture
def sparse(tiny_model_path: Path, tmp_path: Path) -> SparseEncoder:
    torch.manual_seed(0)
    BertForMaskedLM.from_pretrained(tiny_model_path).save_pretrained(tmp_path / "mlm")
    AutoTokenizer.from_pretrained(tiny_model_path).save_pretrained(tmp_path / "mlm")
    return SparseEncoder(str(tmp_path / "mlm"), device="cpu").train()  # in evaluation mode it works in place


def features(model: Any, columns: int) -> list[dict[str, Tensor]]:
    return [model.preprocess(texts, task="document" if i else "query") for i, texts in enumerate(TEXTS[:columns])]


def value_and_gradients(loss: nn.Module, columns: int, labels: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    loss.zero_grad()
    torch.manual_seed(1)  # of dropout
    value = loss(features(loss.model, columns), labels)
    value = torch.stack(list(value.values())).sum() if isinstance(value, dict) else value
    value.backward()
    return value.detach(), [weight.grad.clone() for weight in loss.parameters() if weight.grad is not None]


@pytest.mark.parametrize("options", [{}, {"scale": 3.0, "similarity_fct": mean_colbert_scores}], ids=["MaxSim", "mean"])
@pytest.mark.parametrize("columns", [2, 3])
def test_late_interaction_equals_the_librarys_loss(
    multi_vector: MultiVectorEncoder, columns: int, options: dict[str, Any]
) -> None:
    ours = MultilingualMultipleNegativesRankingLoss(multi_vector, **options)
    theirs = MultiVectorMultipleNegativesRankingLoss(multi_vector, **options)
    found, gradients = value_and_gradients(ours, columns, DISTINCT)
    wanted, wanted_gradients = value_and_gradients(theirs, columns, None)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients, wanted_gradients)


def test_late_interaction_masks_passages_of_one_cluster(multi_vector: MultiVectorEncoder) -> None:
    queries, passages = (
        encode(texts, prompt="")
        for encode, texts in zip((multi_vector.encode_query, multi_vector.encode_document), TEXTS[:2], strict=True)
    )
    scores = multi_vector.similarity(queries, passages).double()
    scores[0, 2] = scores[2, 0] = -torch.inf
    wanted = -scores.log_softmax(dim=1).diagonal().mean()
    loss = MultilingualMultipleNegativesRankingLoss(multi_vector)
    found, _ = value_and_gradients(loss, 2, torch.tensor([[7, 0, 1], [1, 0, 1], [7, 1, 0]]))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    both, _ = value_and_gradients(
        MultilingualMultipleNegativesRankingLoss(multi_vector, directions=("query_to_doc", "doc_to_query")), 2, DISTINCT
    )
    assert both > found


@pytest.mark.parametrize("options", [{"mini_batch_size": 2}, {"directions": ("query_to_doc", "doc_to_doc")}])
def test_late_interaction_refuses_what_it_cannot_compute(
    multi_vector: MultiVectorEncoder, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="compares queries with passages only and caches no gradients"):
        MultilingualMultipleNegativesRankingLoss(multi_vector, **options)


def test_a_sparse_loss_equals_the_librarys_and_masks_clusters(sparse: SparseEncoder) -> None:
    ours = SpladeLoss(sparse, MultilingualMultipleNegativesRankingLoss(sparse), 3e-5, 5e-5)
    theirs = SpladeLoss(sparse, SparseMultipleNegativesRankingLoss(sparse), 3e-5, 5e-5)
    found, gradients = value_and_gradients(ours, 3, DISTINCT)
    wanted, wanted_gradients = value_and_gradients(theirs, 3, None)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients, wanted_gradients)
    masked, _ = value_and_gradients(ours, 3, torch.tensor([[0, 0, 1], [1, 0, 1], [0, 1, 0]]))
    assert masked < found


@pytest.mark.parametrize("kind", ["sparse", "multi_vector"])
def test_encoders_of_other_kinds_train_on_hybrid_batches(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = request.getfixturevalue(kind)
    trainer_class, arguments = {
        "sparse": (SparseEncoderTrainer, SparseEncoderTrainingArguments),
        "multi_vector": (MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments),
    }[kind]
    seen: list[list[tuple[int, int]]] = []

    class Recording(MultilingualMultipleNegativesRankingLoss):
        def calculate_loss(self, reps: Any, labels: Any = None, **options: Any) -> Tensor:
            seen.append([(query, passage) for _, query, passage in labels.tolist()])
            assert len(set(labels[:, 0].tolist())) == len(labels)
            return super().calculate_loss(reps, labels, **options)

    loss: nn.Module = Recording(model)
    args = arguments(
        str(tmp_path / "out"),
        max_steps=24,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        logging_steps=8,
        batch_sampler=HybridBatchSampler,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
    )
    pairs = parallel_pairs(parallel_rows())
    trainer = trainer_class(model, args, pairs, loss=SpladeLoss(model, loss, 3e-5, 5e-5) if kind == "sparse" else loss)
    trainer.train()
    same = [{query == passage for query, passage in batch} for batch in seen]
    assert len(seen) == 24
    assert same.count({True}) == same.count({False}) == 12
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[-1] < losses[0]
    with pytest.raises(TypeError, match=f"Use {type(model).__name__}Trainer, with batch_sampler=HybridBatchSampler"):
        HybridTrainer(model, None, pairs)
