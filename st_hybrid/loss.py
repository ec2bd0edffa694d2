"""The in-batch-negatives loss that knows which pairs of a batch share a passage."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from sentence_transformers.base.losses.merged_forward import embed_columns
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import cos_sim
from sentence_transformers.util.distributed import get_rank, get_world_size
from torch import Tensor, nn

Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
BatchKind = Literal["monolingual", "cross_lingual"]

# Two int64 a row, cluster and pair number, travel as their 16 bytes: 0 to 255 is exact in every float type.
ID_COLUMNS = 16


class MultilingualMultipleNegativesRankingLoss(CachedLossMixin, nn.Module):
    """In-batch negatives among which no pair finds a translation of its own passage, or the passage itself.

    Wraps sentence-transformers' MultipleNegativesRankingLoss, or CachedMultipleNegativesRankingLoss for large batches.

    Translations of one passage, or several questions on it, are false negatives that no comparison of texts can see.
    The labels name each pair's passage cluster, and every score between two different pairs of one cluster leaves the
    softmax, in all directions and across devices. They also name the cluster that each hard negative is a passage of:
    in a batch it is a negative of all queries, and leaves the softmax of those that it answers. Where labels do not
    name them, hard negatives count as passages of their pair's cluster, and its own pair keeps them.

    A batch in which no cluster is shared has exactly the value and gradient of the wrapped loss. Without hard
    negatives :class:`~st_hybrid.HybridBatchSampler` draws no other: there this class is the safety net, and with any
    other sampler, or with hard negatives, it does the work.

    Args:
        model: The :class:`~sentence_transformers.SentenceTransformer` to train.
        scale: The similarities are multiplied by it; the inverse of the temperature. 20 is the wrapped loss's default;
            encoders pretrained at temperature 0.01, such as the E5 family, may want 100.
        similarity_fct: From embeddings (n, dim) and (m, dim) to scores (n, m).
        gather_across_devices: Take the candidates of all devices as negatives. Clusters are compared across devices
            too; every device needs the same batch size.
        directions: Which scores take part, see the wrapped loss.
        partition_mode: One softmax over all directions ("joint") or one for each ("per_direction").
        hardness_mode: Which negatives to weigh by their hardness, see the wrapped loss.
        hardness_strength: How strongly to weigh them; at least 0.
        mini_batch_size: If given, wrap the cached loss, which embeds this many texts at a time, so that the batch can
            be far larger than memory would allow.
        mini_batch_num_tokens: If given, wrap the cached loss and pack its mini-batches up to this many tokens;
            ``mini_batch_size`` (then 32 by default) still bounds the rows of scores held at once.
        show_progress_bar: Show the cached loss's progress within a batch.
        missing_labels: What to do with a batch whose labels do not come from :func:`~st_hybrid.parallel_pairs`:
            raise an "error", or "ignore" them and compute the plain loss.

    Inputs:
        Texts (query, positive) or (query, positive, negative_1, ..., negative_n), and integer labels of shape (batch,
        3 + n): passage cluster, query language, passage language and the cluster of each negative, -1 if unknown, as
        :func:`~st_hybrid.parallel_pairs` makes them and the standard collator hands them over. The clusters of the
        negatives may be missing: shape (batch, 3).

    Raises:
        ValueError: An argument is out of range, a batch has no such labels and ``missing_labels`` is "error", or its
            labels name the clusters of more or fewer negatives than it has.

    Relations:
        - Can be wrapped in sentence-transformers' MatryoshkaLoss.
        - :class:`~st_hybrid.HybridTrainer` takes it by default and logs the mean loss of monolingual and of
          cross-lingual batches; :class:`~st_hybrid.trainer.BatchKindLosses` does so in any other trainer.

    References:
        - Hybrid batch training: https://arxiv.org/abs/2408.10536
        - The wrapped losses: https://arxiv.org/abs/1807.03748, https://arxiv.org/abs/2101.06983

    Example:
        ::

            from datasets import Dataset
            from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
            from sentence_transformers import SentenceTransformerTrainingArguments
            from st_hybrid import HybridBatchSampler, MultilingualMultipleNegativesRankingLoss, parallel_pairs

            rows = Dataset.from_list([
                {"id": 1, "language": "en", "query": "Where do storks nest?", "positive": "They nest on chimneys."},
                {"id": 1, "language": "de", "query": "Wo nisten Störche?", "positive": "Sie nisten auf Kaminen."},
                {"id": 2, "language": "en", "query": "What do bees make?", "positive": "They make wax."},
                {"id": 2, "language": "de", "query": "Was machen Bienen?", "positive": "Sie machen Wachs."},
            ])
            model = SentenceTransformer("intfloat/multilingual-e5-small")
            trainer = SentenceTransformerTrainer(
                model=model,
                args=SentenceTransformerTrainingArguments(
                    "out", per_device_train_batch_size=2, batch_sampler=HybridBatchSampler
                ),
                train_dataset=parallel_pairs(rows),
                loss=MultilingualMultipleNegativesRankingLoss(model),
            )
            trainer.train()
    """

    def __init__(
        self,
        model: SentenceTransformer,
        scale: float = 20.0,
        similarity_fct: Callable[[Tensor, Tensor], Tensor] = cos_sim,
        gather_across_devices: bool = False,
        directions: tuple[Direction, ...] = ("query_to_doc",),
        partition_mode: Literal["joint", "per_direction"] = "joint",
        hardness_mode: Literal["in_batch_negatives", "hard_negatives", "all_negatives"] | None = None,
        hardness_strength: float = 0.0,
        *,
        mini_batch_size: int | None = None,
        mini_batch_num_tokens: int | None = None,
        show_progress_bar: bool = False,
        missing_labels: Literal["error", "ignore"] = "error",
    ) -> None:
        super().__init__()
        if missing_labels not in ("error", "ignore"):
            raise ValueError(f"missing_labels must be 'error' or 'ignore', got {missing_labels!r}")
        if mini_batch_size is not None and mini_batch_size < 1:
            raise ValueError(f"mini_batch_size must be at least 1, got {mini_batch_size}")
        self.model = model
        self.missing_labels = missing_labels
        self.uses_gradient_cache = mini_batch_size is not None or mini_batch_num_tokens is not None
        self.mini_batch_size = 32 if mini_batch_size is None else mini_batch_size
        self.mini_batch_num_tokens = mini_batch_num_tokens
        self.show_progress_bar = show_progress_bar

        wrapped: Any = MultipleNegativesRankingLoss
        if self.uses_gradient_cache:
            wrapped = partial(
                CachedMultipleNegativesRankingLoss,
                mini_batch_size=self.mini_batch_size,
                mini_batch_num_tokens=mini_batch_num_tokens,
                show_progress_bar=show_progress_bar,
            )
        wrapped = partial(
            wrapped,
            model,
            scale,
            gather_across_devices=gather_across_devices,
            directions=directions,
            partition_mode=partition_mode,
            hardness_mode=hardness_mode,
            hardness_strength=hardness_strength,
        )

        # The model card names and cites ``loss`` beside this class. ``masked_loss`` computes the same from embeddings
        # that carry ids; a batch without a shared cluster goes to ``loss`` and pays nothing for the mask.
        self.loss: Any = wrapped(similarity_fct=similarity_fct)
        self.masked_loss: Any = wrapped(similarity_fct=partial(masked_similarity, similarity_fct=similarity_fct))
        self.reset_batch_kind_losses()

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """The loss of one batch, as the trainer calls it.

        Args:
            sentence_features: The tokenized queries, positives and any hard negatives.
            labels: Integers (batch, 3 + n): passage cluster, query language, passage language, and the cluster of each
                of the n negatives; or (batch, 3).

        Returns:
            A scalar.

        Raises:
            ValueError: The labels are of another kind and ``missing_labels`` is "error", or of other negatives.
        """
        # One small copy to the host, before the model has queued any work, answers all questions about the labels.
        labels = self._checked(labels)
        if self.uses_gradient_cache:
            loss = self.forward_cached(sentence_features, labels)
        else:
            loss = self.compute_loss_from_embeddings(embed_columns(self.model, sentence_features), labels)
        # Evaluation runs without gradients and does not belong in the training curves.
        if labels is not None and torch.is_grad_enabled():
            self._track(loss.detach(), labels)
        return loss

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of one batch.

        Args:
            embeddings: Queries, positives and any hard negatives, each (batch, dim).
            labels: As :meth:`forward` takes them, or None if nothing is to be masked.

        Returns:
            A scalar.
        """
        loss, columns = self._masked([[column] for column in embeddings], labels)
        return loss.compute_loss_from_embeddings([column for (column,) in columns], labels)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """The cached loss of one batch; the gradient cache calls it.

        Args:
            reps: For each column of texts, the embeddings of its mini-batches.
            labels: As for :meth:`compute_loss_from_embeddings`.
            with_backward: Also compute the embeddings' gradients, and return the loss detached.

        Returns:
            A scalar.
        """
        loss, columns = self._masked(reps, labels)
        return loss.calculate_loss(columns, labels, with_backward=with_backward)

    def _checked(self, labels: Tensor | None) -> Tensor | None:
        found = "no labels"
        if labels is not None:
            if labels.ndim == 2 and labels.size(1) >= 3 and not labels.is_floating_point():
                return labels.long().cpu()
            found = f"labels of shape {tuple(labels.shape)} and type {labels.dtype}"
        if self.missing_labels == "ignore":
            return None
        raise ValueError(
            f"{type(self).__name__} got {found}, but needs integer labels of shape (batch, 3), or more with negatives, "
            "that say which pairs share a passage. Make the dataset with st_hybrid.parallel_pairs(rows), or pass "
            "missing_labels='ignore' to train with the plain loss."
        )

    def _masked(self, columns: list[list[Tensor]], labels: Tensor | None) -> tuple[Any, list[list[Tensor]]]:
        """The wrapped loss to call, and what to call it with: embeddings with ids if any cluster may be shared."""
        # Devices that gather must agree on the width of the embeddings, whatever their own part of the batch holds.
        gathers = self.loss.gather_across_devices and get_world_size() > 1
        size = sum(len(part) for part in columns[0])
        pairs = get_rank() * size + torch.arange(size)
        clusters = -1 - pairs if labels is None else labels[:, 0].cpu()
        negatives = clusters.new_empty(size, 0) if labels is None else labels[:, 3:].cpu()
        if negatives.size(1) not in (0, len(columns) - 2):
            raise ValueError(
                f"The labels name the clusters of {negatives.size(1)} negatives, but the batch has {len(columns) - 2}. "
                "Choose among negatives before the pairs are made: parallel_pairs(rows, negative_columns=[...])."
            )
        if not gathers and len(torch.unique(clusters)) == size and not torch.isin(negatives, clusters).any():
            return self.loss, columns
        ids = [torch.stack([clusters, pairs], dim=1)] * len(columns)
        # A negative counts as a pair of its own, so that it leaves even its own query's softmax if it answers that.
        # One of no cluster gets a number that no cluster has.
        for number, cluster in enumerate(negatives.unbind(1), start=2):
            ids[number] = torch.stack([torch.where(cluster < 0, -1 - pairs, cluster), -1 - pairs], dim=1)
        tagged = [_tagged(column, its.view(torch.uint8)) for column, its in zip(columns, ids, strict=True)]
        return self.masked_loss, tagged

    def _track(self, loss: Tensor, labels: Tensor) -> None:
        monolingual = labels[:, 1] == labels[:, 2]
        kind: BatchKind = "monolingual" if monolingual.all() else "cross_lingual"
        if kind == "cross_lingual" and monolingual.any():
            return  # another sampler's batch of both kinds
        # A sum that stays on the device: adding to it waits for nothing.
        self._loss_sums[kind] = self._loss_sums[kind] + loss.float()
        self._batch_counts[kind] += 1

    def batch_kind_losses(self) -> dict[BatchKind, tuple[float, int]]:
        """The training losses since the last :meth:`reset_batch_kind_losses`, by kind of batch.

        Returns:
            For each kind the sum of the losses and the number of batches, on this process. A batch is "monolingual" if
            each pair's two languages are equal and "cross_lingual" if each pair's differ; any other counts nowhere.
        """
        return {kind: (float(total), self._batch_counts[kind]) for kind, total in self._loss_sums.items()}

    def reset_batch_kind_losses(self) -> None:
        """Start the sums and counts of :meth:`batch_kind_losses` afresh."""
        self._loss_sums: dict[BatchKind, Tensor | float] = {"monolingual": 0.0, "cross_lingual": 0.0}
        self._batch_counts: dict[BatchKind, int] = {"monolingual": 0, "cross_lingual": 0}

    def get_config_dict(self) -> dict[str, Any]:
        """The arguments, for the model card."""
        return {**self.loss.get_config_dict(), "missing_labels": self.missing_labels}

    @property
    def temperature(self) -> float:
        """The inverse of the scale."""
        return self.loss.temperature

    @property
    def citation(self) -> str:
        """BibTeX of hybrid batch training; the model card adds the wrapped losses' own."""
        return """
@misc{elmahdy2024synergistic,
    title={Synergistic Approach for Simultaneous Optimization of Monolingual, Cross-lingual, and Multilingual
        Information Retrieval},
    author={Adel Elmahdy and Sheng-Chieh Lin and Amin Ahmad},
    year={2024},
    eprint={2408.10536},
    archivePrefix={arXiv},
    primaryClass={cs.IR},
    url={https://arxiv.org/abs/2408.10536},
}
"""


def masked_similarity(a: Tensor, b: Tensor, similarity_fct: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Similarities of embeddings whose last columns hold the bytes of their ids, -inf between pairs of one cluster.

    Args:
        a: (n, dim + 16).
        b: (m, dim + 16).
        similarity_fct: Applied to the embeddings without their ids.

    Returns:
        (n, m). What two embeddings of one pair number have with each other stays.
    """
    a, clusters_a, pairs_a = _split(a)
    b, clusters_b, pairs_b = _split(b)
    false_negative = (clusters_a[:, None] == clusters_b) & (pairs_a[:, None] != pairs_b)
    return similarity_fct(a, b).masked_fill(false_negative, -torch.inf)


def _tagged(column: list[Tensor], ids: Tensor) -> list[Tensor]:
    parts = ids.split_with_sizes([len(part) for part in column])
    return [torch.cat([part, part_ids.to(part)], dim=1) for part, part_ids in zip(column, parts, strict=True)]


def _split(tagged: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    embeddings, digits = tagged.split_with_sizes([tagged.size(1) - ID_COLUMNS, ID_COLUMNS], dim=1)
    ids = digits.detach().to(torch.uint8, memory_format=torch.contiguous_format).view(torch.int64)
    return embeddings, ids[:, 0], ids[:, 1]
