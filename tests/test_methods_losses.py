"""The losses of the table of methods: zero where they must be, and gradients that lower them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.methods_losses import AnchorScoresLoss, LanguageCorrelationLoss, ScoreConsistencyLoss
from st_hybrid import HybridBatchSampler, HybridTrainer, parallel_pairs
from st_hybrid.methods.anchor import AnchorVectors

CLUSTERS = torch.arange(8)
CROSS_LINGUAL = torch.stack([CLUSTERS, CLUSTERS % 2, 1 - CLUSTERS % 2], dim=1)
MONOLINGUAL = torch.stack([CLUSTERS, 0 * CLUSTERS, 0 * CLUSTERS], dim=1)


def vectors(seed: int, size: int = 8, dimensions: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(size, dimensions, generator=generator, dtype=torch.float64))


def lowered(loss: Any, columns: list[Tensor], labels: Tensor, steps: int = 200) -> tuple[float, float]:
    """The term before and after descent along its gradient."""
    columns = [column.clone().requires_grad_() for column in columns]
    optimizer = torch.optim.SGD(columns, lr=0.1)
    values = []
    for _ in range(steps):
        value = loss.term(*columns, labels)
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        assert all(column.grad.isfinite().all() for column in columns if column.grad is not None)
        optimizer.step()
    return values[0], values[-1]


@pytest.fixture
def rows() -> Dataset:
    return Dataset.from_list(
        [
            {"id": n, "language": code, "query": text.format(n), "positive": text.format(n)}
            for n in range(12)
            for code, text in {"en": "Mr {} lives here.", "de": "Hier wohnt Herr {}.", "th": "คุณ {} อยู่ที่นี่"}.items()
        ]
    )


class TestScoreConsistency:
    def test_equals_the_divergences_one_pair_at_a_time(self, tiny_model: SentenceTransformer) -> None:
        queries, positives = vectors(0), vectors(1)
        labels = CROSS_LINGUAL.clone()
        labels[1, 0] = 0  # the second pair's passage is of the first one's cluster
        found = ScoreConsistencyLoss(tiny_model, 1.0, scale=7.0).term(queries, positives, labels)
        total = 0.0
        for i in range(8):
            others = [j for j in range(8) if labels[j, 0] != labels[i, 0]]
            one, other = (torch.softmax(7.0 * positives[others] @ side[i], dim=0) for side in (queries, positives))
            total += ((one * (one / other).log()).sum() + (other * (other / one).log()).sum()).item() / 2
        assert found.item() == pytest.approx(total / 8, abs=1e-9)

    def test_zero_for_equal_distributions_and_monolingual_pairs(self, tiny_model: SentenceTransformer) -> None:
        loss = ScoreConsistencyLoss(tiny_model, 1.0, scale=7.0)
        positives = vectors(1)
        assert loss.term(positives, positives, CROSS_LINGUAL).item() == pytest.approx(0, abs=1e-12)
        assert loss.term(vectors(0), positives, MONOLINGUAL).item() == 0
        one_cluster = CROSS_LINGUAL.clone()
        one_cluster[:, 0] = 3  # nothing is left to compare
        assert lowered(loss, [vectors(0), positives], one_cluster, steps=1) == (0, 0)

    def test_gradients_lower_it(self, tiny_model: SentenceTransformer) -> None:
        before, after = lowered(
            ScoreConsistencyLoss(tiny_model, 1.0, scale=7.0), [vectors(0), vectors(1)], CROSS_LINGUAL
        )
        assert after < 0.05 * before


class TestAnchorScores:
    def loss_of(self, model: SentenceTransformer) -> AnchorScoresLoss:
        teacher = AnchorVectors(torch.arange(0, 16, 2), vectors(5).half(), vectors(6).half())
        return AnchorScoresLoss(model, teacher, 1.0, scale=7.0)

    def test_zero_at_the_start_and_without_anchors(self, tiny_model: SentenceTransformer) -> None:
        loss, anchors = self.loss_of(tiny_model), torch.arange(0, 16, 2)[:, None].expand(8, 2)
        labels = torch.cat([CROSS_LINGUAL, anchors], dim=1)
        assert loss.term(vectors(5), vectors(6), labels).item() == pytest.approx(0, abs=1e-5)
        # Turned together, scores are the same: it says nothing about where vectors are.
        turn, _ = torch.linalg.qr(vectors(9, 6))
        assert loss.term(vectors(5) @ turn, vectors(6) @ turn, labels).item() == pytest.approx(0, abs=1e-5)
        without = torch.cat([CROSS_LINGUAL, torch.full((8, 2), -1)], dim=1)
        assert loss.term(vectors(0), vectors(1), without) == 0

    def test_gradients_lower_it_for_pairs_with_anchors(self, tiny_model: SentenceTransformer) -> None:
        loss, anchors = self.loss_of(tiny_model), torch.arange(0, 16, 2)[:, None].repeat(1, 2)
        anchors[3:5] = -1
        labels = torch.cat([CROSS_LINGUAL, anchors], dim=1)
        before, after = lowered(loss, [vectors(0), vectors(1)], labels)
        assert after < 0.1 * before


class TestLanguageCorrelation:
    def test_equals_correlations_one_at_a_time(self, tiny_model: SentenceTransformer) -> None:
        queries, positives = vectors(0), vectors(1)
        found = LanguageCorrelationLoss(tiny_model, 1.0).term(queries, positives, CROSS_LINGUAL)
        values = torch.cat([queries - queries.mean(dim=0), positives - positives.mean(dim=0)])
        languages = torch.cat([CROSS_LINGUAL[:, 1], CROSS_LINGUAL[:, 2]])
        squares = [
            torch.corrcoef(torch.stack([column, (languages == code).double()]))[0, 1] ** 2
            for column in values.T
            for code in (0, 1)
        ]
        assert found.item() == pytest.approx(torch.stack(squares).mean().item(), abs=1e-9)

    def test_zero_where_languages_have_one_mean_and_one_language(self, tiny_model: SentenceTransformer) -> None:
        loss = LanguageCorrelationLoss(tiny_model, 1.0)
        alike = vectors(0, 4).repeat_interleave(2, dim=0)  # each vector once in each language
        assert loss.term(alike, alike.flip(0), CROSS_LINGUAL).item() == pytest.approx(0, abs=1e-12)
        assert lowered(loss, [vectors(0), vectors(1)], MONOLINGUAL, steps=1) == (0, 0)

    def test_gradients_lower_it(self, tiny_model: SentenceTransformer) -> None:
        offset = torch.tensor([1.0, -1.0, 0.5, 0, 0, 0], dtype=torch.float64)
        columns = [vectors(n) + CROSS_LINGUAL[:, 1 + n, None] * offset for n in (0, 1)]
        before, after = lowered(LanguageCorrelationLoss(tiny_model, 1.0), columns, CROSS_LINGUAL, steps=2000)
        assert before > 0.2
        assert after < 0.05 * before


@pytest.mark.parametrize("loss_class", [ScoreConsistencyLoss, AnchorScoresLoss, LanguageCorrelationLoss])
@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_trains_a_model(
    loss_class: type, mini_batch_size: int | None, tiny_model: SentenceTransformer, rows: Dataset, tmp_path: Any
) -> None:
    pairs = parallel_pairs(rows, anchor="en" if loss_class is AnchorScoresLoss else None)
    teacher = [AnchorVectors.encode(tiny_model, pairs)] if loss_class is AnchorScoresLoss else []
    loss = loss_class(tiny_model, *teacher, weight=2.0, scale=20.0, mini_batch_size=mini_batch_size)
    args = SentenceTransformerTrainingArguments(
        str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=6,
        logging_steps=2,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        batch_sampler=partial(HybridBatchSampler, alpha=0.0),
    )
    trainer = HybridTrainer(tiny_model, args, pairs, loss=loss)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all(entry[f"loss_{loss.name}"] > 0 for entry in logs)
    for entry in logs:
        assert entry["loss"] == pytest.approx(entry["loss_contrastive"] + entry[f"loss_{loss.name}"], abs=2e-3)
