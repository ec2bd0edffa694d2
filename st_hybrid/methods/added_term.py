"""A loss that adds a term of its own to the in-batch negatives."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from st_hybrid.encoders import require_dense
from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss

__all__ = ["AddedTermLoss"]


class AddedTermLoss(MultilingualMultipleNegativesRankingLoss, ABC):
    """In-batch negatives plus ``weight`` times a term of the embeddings of the queries and positives of a batch.

    A subclass defines :meth:`term`. The texts are encoded once for both, with and without gradient caching. The trainer
    logs the mean of both as ``loss_contrastive`` and ``loss_`` with the name of the term, weighted; they add up to the
    loss. MatryoshkaLoss cannot wrap it.

    Args:
        model: The ``SentenceTransformer`` to train.
        weight: Factor of the term.
        **options: Those of :class:`~st_hybrid.MultilingualMultipleNegativesRankingLoss`.

    Raises:
        TypeError: The model does not give one dense vector per text.
        ValueError: ``weight`` is not a positive number, or an option is out of range.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid.methods.added_term import AddedTermLoss

            class LengthLoss(AddedTermLoss):
                name = "length"

                def term(self, queries, positives, labels):
                    return (queries.norm(dim=1) - positives.norm(dim=1)).square().mean()

            loss = LengthLoss(SentenceTransformer("intfloat/multilingual-e5-small"), weight=0.1, scale=100)
    """

    name: ClassVar[str] = "term"
    own_labels: ClassVar[int] = 0
    """How many of the last columns of the labels only the term reads."""
    labels_from: ClassVar[str] = "st_hybrid.parallel_pairs(rows)"

    def __init__(self, model: Any, weight: float, **options: Any) -> None:
        super().__init__(require_dense(model, type(self).__name__), **options)
        if not 0 < weight < math.inf:
            raise ValueError(f"weight must be a positive number, got {weight}.")
        self.weight = weight

    @abstractmethod
    def term(self, queries: Tensor, positives: Tensor, labels: Tensor) -> Tensor:
        """The term of one batch, a scalar, from embeddings (batch, dim) and all labels (batch, labels)."""

    def forward(  # type: ignore[override]
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the two parts of the loss of one batch, which the trainer adds up and logs."""
        loss = super().forward(sentence_features, labels)
        # All of the gradient is in the loss, which with gradient caching is one tensor that computes it later.
        return {"loss_contrastive": loss - self._added, f"loss_{self.name}": self._added}

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Compute the loss from the embeddings of each column's mini-batches, each (mini-batch, dim)."""
        if labels is None or labels.ndim != 2 or labels.size(1) != 1 + len(reps) + self.own_labels:
            raise ValueError(f"{type(self).__name__} needs the labels of {self.labels_from}.")
        queries, positives = (torch.cat(column) for column in reps[:2])
        added = self.weight * self.term(queries, positives, labels)
        if with_backward and added.requires_grad:
            added.backward()
            added = added.detach()
        self._added = added.detach()
        labels = labels[:, : labels.size(1) - self.own_labels]
        return super().calculate_loss(reps, labels, with_backward=with_backward) + added
