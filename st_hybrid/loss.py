"""InfoNCE over in-batch negatives, with translations of a pair's own passage masked out."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import torch
from sentence_transformers import MultiVectorEncoder, SparseEncoder
from sentence_transformers.base.losses import CachedLossMixin
from sentence_transformers.base.losses.gradcache import has_static_embedding_input
from sentence_transformers.base.losses.merged_forward import (
    embed_columns,
    embed_columns_padded,
    merge_feature_batches,
)
from sentence_transformers.multi_vector_encoder.scoring import colbert_scores
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import cos_sim, dot_score
from sentence_transformers.util.distributed import all_gather, all_gather_padded, all_gather_with_grad, get_rank
from torch import Tensor, nn

Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
PartitionMode = Literal["joint", "per_direction"]
HardnessMode = Literal["in_batch_negatives", "hard_negatives", "all_negatives"]
_SIMILAR = 16  # texts that a CPU encodes at once
_COMPUTED = {*get_args(Direction), *get_args(PartitionMode), *get_args(HardnessMode), None}
_CITATION = """
@misc{elmahdy2024synergistic,
    title={Synergistic Approach for Simultaneous Optimization of Monolingual, Cross-lingual, and Multilingual
        Information Retrieval},
    author={Adel Elmahdy and Sheng-Chieh Lin and Amin Ahmad},
    year={2024}, eprint={2408.10536}, archivePrefix={arXiv}, primaryClass={cs.IR},
}
"""


class MultilingualMultipleNegativesRankingLoss(CachedLossMixin, MultipleNegativesRankingLoss):
    """InfoNCE over in-batch negatives, with translations of a pair's own passage masked out.

    Translations of one passage, and several queries on it, are false negatives that no comparison of texts can see.
    The labels name each pair's passage cluster. The loss masks every score between two pairs of one cluster, in all
    directions and across devices. It masks a hard negative for all queries that it answers if the labels name its
    cluster; otherwise the negative counts as a passage of its pair's cluster, and only its own pair keeps it.

    Where no cluster is shared, as in batches of :class:`~st_hybrid.HybridBatchSampler`, the loss equals that of
    sentence-transformers' MultipleNegativesRankingLoss. MatryoshkaLoss can wrap it. For a ``SparseEncoder`` put it into
    SpladeLoss or CSRLoss; for a ``MultiVectorEncoder`` it scores by late interaction (MaxSim).

    Args:
        model: The ``SentenceTransformer``, ``SparseEncoder`` or ``MultiVectorEncoder`` to train.
        scale: Factor of the similarities, the inverse of the temperature: by default 20, and 1 for sparse and
            multi-vector models. E5 models were trained with 100.
        similarity_fct: From embeddings (n, dim) and (m, dim) to similarities (n, m), by default cosine, or the dot
            product for sparse models. For multi-vector models a function such as sentence-transformers'
            ``colbert_scores``, the default.
        gather_across_devices: Use the passages of all devices as negatives. Every device needs the same batch size.
        directions, partition_mode, hardness_mode, hardness_strength: As in MultipleNegativesRankingLoss.
        mini_batch_size: Embed this many texts at a time and cache their gradients (`GradCache
            <https://arxiv.org/abs/2101.06983>`_). Memory then depends on the mini-batch, not on the batch.
        mini_batch_num_tokens: Cache gradients and pack mini-batches of up to this many tokens.
        show_progress_bar: Show a progress bar of the mini-batches.
        missing_labels: Without labels raise an "error", or "ignore" it and mask nothing.

    Inputs:
        The columns of :func:`~st_hybrid.parallel_pairs`. The labels are integers of shape (batch, 3 + negatives), or
        (batch, 3) without the clusters of the negatives.

    Raises:
        ValueError: An argument is out of range, or the labels are missing or do not fit the batch.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid import MultilingualMultipleNegativesRankingLoss

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            loss = MultilingualMultipleNegativesRankingLoss(model, scale=100, mini_batch_size=32)
    """

    def __init__(
        self,
        model: Any,
        scale: float | None = None,
        similarity_fct: Callable[..., Tensor] | None = None,
        gather_across_devices: bool = False,
        directions: tuple[Direction, ...] = ("query_to_doc",),
        partition_mode: PartitionMode = "joint",
        hardness_mode: HardnessMode | None = None,
        hardness_strength: float = 0.0,
        *,
        mini_batch_size: int | None = None,
        mini_batch_num_tokens: int | None = None,
        show_progress_bar: bool = False,
        missing_labels: Literal["error", "ignore"] = "error",
    ) -> None:
        late = isinstance(model, MultiVectorEncoder)
        sparse = isinstance(model, SparseEncoder)
        if scale is None:
            scale = 1.0 if late or sparse else 20.0
        similarity_fct = similarity_fct or (colbert_scores if late else dot_score if sparse else cos_sim)
        options = directions, partition_mode, hardness_mode, hardness_strength
        super().__init__(model, scale, similarity_fct, gather_across_devices, *options)
        if new := {*directions, partition_mode, hardness_mode} - _COMPUTED:
            raise ValueError(f"{type(self).__name__} does not compute {new}, which sentence-transformers allows.")
        if missing_labels not in ("error", "ignore"):
            raise ValueError(f"missing_labels must be 'error' or 'ignore', got {missing_labels!r}")
        for name, size in (("mini_batch_size", mini_batch_size), ("mini_batch_num_tokens", mini_batch_num_tokens)):
            if size is not None and size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        self.late_interaction = late
        self.missing_labels = missing_labels
        self.uses_gradient_cache = mini_batch_size is not None or mini_batch_num_tokens is not None
        self.mini_batch_size = 32 if mini_batch_size is None else mini_batch_size
        self.mini_batch_num_tokens = mini_batch_num_tokens
        self.show_progress_bar = show_progress_bar
        if self.uses_gradient_cache and has_static_embedding_input(model):
            raise ValueError("A StaticEmbedding cannot be split into mini-batches: leave out mini_batch_size.")
        if late and (self.uses_gradient_cache or set(directions) & {"query_to_query", "doc_to_doc"}):
            raise ValueError(
                "For a MultiVectorEncoder the loss compares queries with passages only and caches no gradients: leave "
                "out query_to_query, doc_to_doc, mini_batch_size and mini_batch_num_tokens."
            )

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Compute the loss of one batch, a scalar, from its tokenized columns and its labels."""
        if self.uses_gradient_cache:
            return self.forward_cached(sentence_features, labels)
        columns = list(sentence_features)
        if self.late_interaction:
            embeddings = _token_columns(self.model, columns)
        elif all(value.device.type == "cpu" for value in columns[0].values() if isinstance(value, Tensor)):
            embeddings = [_embed_by_length(self.model, column) for column in columns]
        else:
            embeddings = embed_columns(self.model, columns)
        return self.compute_loss_from_embeddings(embeddings, labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """Compute the loss from the embeddings of the queries, positives and hard negatives, each (batch, dim)."""
        return self.calculate_loss([[column] for column in embeddings], labels)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Compute the loss from the embeddings of each column's mini-batches, each (mini-batch, dim).

        With ``with_backward`` it also computes the gradients of the embeddings, and returns the loss detached.
        """
        if len(reps) < 2:
            raise ValueError(f"The loss needs a column of queries and one of positives, got {len(reps)} columns.")
        queries, *docs = (torch.cat(column) if len(column) > 1 else column[0] for column in reps)
        size, first = len(queries), 0
        if labels is None or labels.ndim != 2 or labels.size(1) < 3 or labels.is_floating_point():
            if self.missing_labels == "error":
                found = "none" if labels is None else f"labels of shape {tuple(labels.shape)} and type {labels.dtype}"
                raise ValueError(
                    f"{type(self).__name__} needs integer labels of shape (batch, 3), or more with negatives, and got "
                    f"{found}. Make the dataset with st_hybrid.parallel_pairs(rows), or pass missing_labels='ignore' "
                    "to mask nothing."
                )
            # Number the pairs, from -2 downwards because -1 is an unknown cluster.
            labels = -2 - get_rank() * size - torch.arange(size)[:, None].expand(size, 3)
        if labels.size(1) not in (3, 2 + len(docs)):
            raise ValueError(
                f"The labels name the clusters of {labels.size(1) - 3} negatives, but the batch has {len(docs) - 1}. "
                "Choose among negatives before the pairs are made: parallel_pairs(rows, negative_columns=[...])."
            )
        named = labels.size(1) > 3
        clusters = labels[:, [0, *range(3, labels.size(1))]] if named else labels[:, :1].expand(size, len(docs))
        clusters = clusters.to(queries.device).contiguous()  # of each document, (batch, documents per pair)
        if self.gather_across_devices:
            first = get_rank() * size
            queries, *docs = map(self._gathered, (queries, *docs))
            clusters = all_gather(clusters)

        losses = []
        rows = self.mini_batch_size if self.uses_gradient_cache else size
        all_docs = torch.cat(docs)
        for begin in range(first, first + size, rows):
            end = min(begin + rows, first + size)
            losses.append(self._loss_of_rows(begin, end, queries, docs[0], all_docs, clusters, named) / size)
            if with_backward:
                losses[-1].backward()
                losses[-1] = losses[-1].detach()
        return torch.stack(losses).sum()

    def _loss_of_rows(
        self, begin: int, end: int, queries: Tensor, positives: Tensor, docs: Tensor, clusters: Tensor, named: bool
    ) -> Tensor:
        """The loss of pairs ``begin`` to ``end`` against all pairs, summed."""
        world, per_pair = clusters.shape
        # Where the pair's own documents are: its positive, and its hard negatives in the blocks after the positives.
        pairs = torch.arange(begin, end, device=docs.device)
        own_places = pairs[:, None] + world * torch.arange(per_pair, device=docs.device)
        same_cluster = clusters[begin:end, :1] == clusters.T.reshape(-1)
        # A pair keeps its own positive, and its own hard negatives if nothing is known about their clusters.
        false_negative = same_cluster.scatter(1, own_places[:, : 1 if named else per_pair], False)

        query, positive = queries[begin:end], positives[begin:end]
        similarity = self._similarity(query, docs)
        logits = similarity * self.scale
        if self.hardness_mode is not None and self.hardness_strength > 0:
            weighted = torch.full_like(same_cluster, self.hardness_mode != "hard_negatives")
            weighted.scatter_(1, own_places, self.hardness_mode != "in_batch_negatives")
            weighted.scatter_(1, own_places[:, :1], False)
            logits = logits + self.hardness_strength * similarity.detach() * weighted
        parts = [(logits, false_negative)]
        if "query_to_query" in self.directions:
            parts.append((self._similarity(query, queries) * self.scale, same_cluster[:, :world]))
        if "doc_to_query" in self.directions:
            parts.append((self._similarity(queries, positive).T * self.scale, false_negative[:, :world]))
        if "doc_to_doc" in self.directions:
            similarity = self._similarity(docs, positive).T
            parts.append((similarity * self.scale, same_cluster.scatter(1, own_places, True)))
        scores = [part.masked_fill_(mask, -torch.inf) for part, mask in parts]
        if self.partition_mode == "joint":
            log_z = (torch.cat(scores, dim=1) if len(scores) > 1 else scores[0]).logsumexp(dim=1)
        else:
            log_z = torch.stack([part.logsumexp(dim=1) for part in scores]).mean(dim=0)
        return (log_z - scores[0].gather(1, own_places[:, :1]).squeeze(1)).sum()

    def _similarity(self, queries: Tensor, docs: Tensor) -> Tensor:
        if not self.late_interaction:
            return self.similarity_fct(queries, docs)
        masks = {"queries_mask": queries[..., -1].bool(), "documents_mask": docs[:, None, :, -1].bool()}
        return self.similarity_fct(queries[..., :-1], docs[:, None, :, :-1], **masks)

    def _gathered(self, column: Tensor) -> Tensor:
        if not self.late_interaction:
            return all_gather_with_grad(column)
        return all_gather_padded(column, column[..., -1], with_grad=True)[0]

    def get_config_dict(self) -> dict[str, Any]:
        """The arguments, for the model card."""
        cache = {"mini_batch_size": self.mini_batch_size, "mini_batch_num_tokens": self.mini_batch_num_tokens}
        own = {"missing_labels": self.missing_labels, **(cache if self.uses_gradient_cache else {})}
        return {**super().get_config_dict(), **own}

    @property
    def citation(self) -> str:
        """BibTeX of hybrid batch training and of the losses that this one extends."""
        cached: Any = CachedMultipleNegativesRankingLoss.citation
        return _CITATION + super().citation + (cached.fget(self) if self.uses_gradient_cache else "")


def _embed_by_length(model: nn.Module, features: dict[str, Any]) -> Tensor:
    """The embeddings of one column, with texts of similar length together: padding costs a CPU as much as text."""
    whole = merge_feature_batches([features])  # None if the features cannot be split
    mask = None if whole is None else whole.get("attention_mask")
    if whole is None or mask is None or mask.ndim != 2 or len(mask) <= _SIMILAR or not mask.any(dim=1).all():
        return model(features)["sentence_embedding"]
    tokens = {key for key, value in whole.items() if isinstance(value, Tensor) and value.shape == mask.shape}
    rows = {key for key, value in whole.items() if isinstance(value, Tensor) and key != "prompt_length"} - tokens
    order, embeddings = mask.sum(dim=1).argsort(), []
    for part in order.split(_SIMILAR):
        longest = int(mask[part].any(dim=0).nonzero().max()) + 1  # padding on the left stays: it may place the tokens
        own = {key: whole[key][part][:, :longest] for key in tokens} | {key: whole[key][part] for key in rows}
        embeddings.append(model({**whole, **own})["sentence_embedding"])
    return torch.cat(embeddings)[order.argsort()]


def _token_columns(model: nn.Module, columns: list[dict[str, Any]]) -> list[Tensor]:
    """The token embeddings of each column, with the mask of the tokens that count as the last dimension."""
    embedded = [
        *zip(*embed_columns_padded(model, columns[:1], task_default="query"), strict=True),
        *zip(*embed_columns_padded(model, columns[1:], task_default="document"), strict=True),
    ]
    query, *docs = (torch.cat([tokens, mask[..., None].to(tokens)], dim=-1) for tokens, mask in embedded)
    longest = max(column.size(1) for column in docs)
    return [query, *(nn.functional.pad(column, (0, 0, 0, longest - column.size(1))) for column in docs)]
