"""How to train: settings that can be read without torch, so that the command line prints its help at once."""

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from st_hybrid.dtypes import Dtype

__all__ = ["Recipe"]

Sampler = Literal["hybrid", "x-x-mono", "x-y", "x-x", "mixture"]
LanguageSampling = Literal["uniform", "proportional"]
Side = Literal["positive", "query"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. The defaults are those of Elmahdy, Lin and Ahmad 2024 (arXiv 2408.10536), where they state them.

    A value out of range and an option that has no effect together with the others raise a ValueError.

    Args:
        sampler: A batch has one language ("x-x-mono"), pairs of two ("x-y") or of one ("x-x"). Some batches are
            x-x-mono and the others x-y ("hybrid"), or each batch holds pairs of both kinds ("mixture", a control).
        alpha: Share of monolingual batches or pairs, for the samplers "hybrid" and "mixture" (0.5 by default).
        language_sampling: Choose languages of monolingual batches "uniform" (the default) or "proportional" to rows.
        same_document: Fill cross-lingual batches with rows that have the same text in their column ``document``.
        one_set_per_batch: Take each batch from one of several data sets, and more batches from larger ones. By default
            all sets are one pool.
        batch_size: Pairs per step and process.
        mini_batch_size: Pairs to encode at once; memory then depends on the mini-batch only (gradients are cached).
        max_steps: Training steps, instead of epochs.
        epochs: Passes over the parallel rows (1 by default).
        learning_rate: Peak of the linear learning rate schedule.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: Weight decay of AdamW.
        scale: Inverse temperature of the loss. Use the one that the model was trained with, 100 for E5 models.
        max_length: Maximum number of tokens per text during training (the model's own by default).
        query_prompt: Prefix of queries (the model's own by default).
        document_prompt: Prefix of passages (the model's own by default).
        freeze_embeddings: Do not train the token embeddings, most of a small multilingual model's weights.
        dtype: Type to compute in, for held-out groups, too; the weights stay in float32. By default bfloat16 where the
            hardware has it (a GPU, or a CPU with AVX512-BF16 or AMX-BF16), else float32. "float16" is for other GPUs.
        held_out: Number of groups to hold out from training and to evaluate on. The best checkpoint is kept.
        save_steps: Steps between two checkpoints, which are evaluated on the held-out groups (a tenth by default).
        patience: Early-stopping patience in evaluations (off by default).
        partners: Partner languages per query in cross-lingual pairs (all by default).
        negatives_follow: Row whose hard negatives a cross-lingual pair has: "positive" (the default) or "query".
        anchor: Language, such as "en", to which texts are distilled too: each towards the start's vector of its
            translation in that language (off by default).
        anchor_weight: Factor of the mean distance (1 - cosine) of queries, and of passages, from it (5 by default).
        merge: Share of the start's weights to average into the trained ones in the end (off by default).
        seed: Seed of all random numbers.

    Example:
        ::

            from st_hybrid.recipe import Recipe

            recipe = Recipe(alpha=0.3, max_steps=200, held_out=500, patience=3)
    """

    sampler: Sampler = "hybrid"
    alpha: float | None = None
    language_sampling: LanguageSampling | None = None
    same_document: bool = False
    one_set_per_batch: bool = False
    batch_size: int = 100
    mini_batch_size: int | None = None
    max_steps: int | None = None
    epochs: float | None = None
    learning_rate: float = 3e-5
    warmup: float = 0.1
    weight_decay: float = 1e-2
    scale: float = 20.0
    max_length: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    freeze_embeddings: bool = False
    dtype: Dtype | None = None
    held_out: int | None = None
    save_steps: int | None = None
    patience: int | None = None
    partners: int | None = None
    negatives_follow: Side | None = None
    anchor: str | None = None
    anchor_weight: float | None = None
    merge: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {"sampler": Sampler, "language_sampling": LanguageSampling, "negatives_follow": Side, "dtype": Dtype}
        for name, choice in choices.items():
            if (value := getattr(self, name)) is not None and value not in get_args(choice):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choice))}, got {value!r}.")
        for name in (field.name for field in fields(self) if field.type in (int, int | None)):
            if (value := getattr(self, name)) is not None and value < 1 and name != "seed":
                raise ValueError(f"{name} must be at least 1, got {value}. To leave it unset, leave it out.")
        alpha = self.sampler_options["alpha"]
        for name, fits, allowed in (
            ("alpha", 0 <= alpha <= 1, "between 0 and 1"),
            ("alpha", self.sampler != "mixture" or 0 < alpha < 1, "above 0 and below 1 for the sampler 'mixture'"),
            ("warmup", 0 <= self.warmup < 1, "a share of the steps, at least 0 and below 1"),
            ("epochs", self.epochs is None or self.epochs > 0, "above 0"),
            ("anchor_weight", self.anchor_weight is None or 0 < self.anchor_weight < math.inf, "above 0"),
            ("merge", self.merge is None or 0 < self.merge < 1, "above 0 and below 1"),
        ):
            if not fits:
                raise ValueError(f"{name} must be {allowed}, got {getattr(self, name)}.")
        for name, useless, reason in (
            ("alpha", self.sampler not in ("hybrid", "mixture"), f"with the sampler {self.sampler!r}"),
            ("language_sampling", alpha == 0 or self.sampler in ("x-x", "mixture"), "without batches of one language"),
            ("same_document", alpha == 1 or self.sampler == "mixture", "without cross-lingual batches"),
            ("partners", alpha == 1, "without cross-lingual pairs"),
            ("negatives_follow", alpha == 1, "without cross-lingual pairs"),
            ("patience", self.held_out is None, "without held_out"),
            ("epochs", self.max_steps is not None, "with max_steps"),
            ("anchor_weight", self.anchor is None, "without anchor"),
            ("mini_batch_size", (self.mini_batch_size or 0) >= self.batch_size, "unless it is below batch_size"),
        ):
            if getattr(self, name) not in (None, False) and useless:
                raise ValueError(f"{name} has no effect {reason}: leave it out.")

    @property
    def sampler_options(self) -> dict[str, Any]:
        """The keyword arguments of :class:`~st_hybrid.HybridBatchSampler`."""
        given = 0.5 if self.alpha is None else self.alpha
        alpha = {"hybrid": given, "mixture": given, "x-y": 0.0}.get(self.sampler, 1.0)
        sampling = "mixed" if self.sampler == "x-x" else self.language_sampling
        if sampling is None and alpha > 0 and self.sampler != "mixture":
            sampling = "uniform"
        return {
            "alpha": alpha,
            "language_sampling": sampling,
            "same_document": self.same_document,
            "homogeneous": self.sampler != "mixture",
        }
