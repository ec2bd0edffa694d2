"""A trainer with hybrid batches, which logs the loss of each kind of batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import BatchSamplers, DefaultBatchSampler, MultiDatasetBatchSamplers
from torch import Tensor, nn

from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss
from st_hybrid.pairs import pair_text
from st_hybrid.sampler import HybridBatchSampler, StepwiseProportionalBatchSampler


class HybridTrainer(SentenceTransformerTrainer):
    """Train a SentenceTransformer with hybrid batches.

    The defaults are :class:`~st_hybrid.HybridBatchSampler`, for several data sets
    :class:`~st_hybrid.StepwiseProportionalBatchSampler`, and
    :class:`~st_hybrid.MultilingualMultipleNegativesRankingLoss`. The logs also hold ``loss_monolingual`` and
    ``loss_cross_lingual``: the mean loss of the batches of each kind since the last log, over all processes.

    Args:
        model: The model to train.
        args: Training arguments. Samplers other than sentence-transformers' defaults are used.
        train_dataset: Pairs of :func:`~st_hybrid.parallel_pairs`, or a ``DatasetDict`` of them.
        eval_dataset: Pairs to compute a validation loss on.
        loss: Another loss, as in sentence-transformers.
        evaluator: One or more evaluators, such as :class:`~st_hybrid.CrossLingualRetrievalEvaluator`.
        batch_sampler: A sampler class, or a callable with its arguments. By default the sampler of ``args``.
        **kwargs: The other arguments of ``SentenceTransformerTrainer``.

    Raises:
        ValueError: Training data did not come from ``parallel_pairs``, or data are too few for the sampler's batches.

    Example:
        ::

            from functools import partial
            from datasets import Dataset
            from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
            from st_hybrid import HybridBatchSampler, HybridTrainer, parallel_pairs

            HybridTrainer(
                model=SentenceTransformer("intfloat/multilingual-e5-small"),
                args=SentenceTransformerTrainingArguments("out", max_steps=5),
                train_dataset=parallel_pairs(Dataset.from_json("rows.jsonl")),
                batch_sampler=partial(HybridBatchSampler, alpha=0.3),
            ).train()
    """

    def __init__(
        self,
        model: SentenceTransformer | None = None,
        args: SentenceTransformerTrainingArguments | None = None,
        train_dataset: Dataset | DatasetDict | dict[str, Dataset] | None = None,
        eval_dataset: Dataset | DatasetDict | dict[str, Dataset] | None = None,
        loss: Any = None,
        evaluator: BaseEvaluator | list[BaseEvaluator] | None = None,
        *,
        batch_sampler: type[DefaultBatchSampler] | Callable[..., DefaultBatchSampler] | None = None,
        **kwargs: Any,
    ) -> None:
        for part in _parts(train_dataset):
            pair_text(part)  # raises if the part did not come from parallel_pairs
        # The caller may pass the same arguments to another trainer.
        args = SentenceTransformerTrainingArguments("tmp_trainer") if args is None else copy.copy(args)
        if batch_sampler is not None:
            args.batch_sampler = batch_sampler
        elif args.batch_sampler == BatchSamplers.BATCH_SAMPLER:
            args.batch_sampler = HybridBatchSampler
        if args.multi_dataset_batch_sampler == MultiDatasetBatchSamplers.PROPORTIONAL:
            args.multi_dataset_batch_sampler = StepwiseProportionalBatchSampler
        super().__init__(model, args, train_dataset, eval_dataset, loss, evaluator, **kwargs)
        if self.args.eval_strategy != "no":  # let the samplers raise now, not during the training
            for part in _parts(eval_dataset):
                if isinstance(part, Dataset):
                    self.get_batch_sampler(part, self.args.eval_batch_size, self.args.dataloader_drop_last)
        # Columns: monolingual, cross-lingual. Rows: the sum of the losses, the number of batches.
        self._batch_losses: Tensor | None = None

    def get_default_loss(self, model: Any) -> nn.Module:
        """The multilingual loss."""
        return MultilingualMultipleNegativesRankingLoss(model)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as ``Trainer.train`` does."""
        self._batch_losses = None
        return super().train(*args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss, and add it to the mean of its kind of batch."""
        result: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.get("label")
        if self.model.training and labels is not None:
            loss = (result[0] if return_outputs else result).detach().float()
            monolingual = labels[:, 1] == labels[:, 2]
            is_kind = torch.stack([monolingual.all(), ~monolingual.any()])
            # Nothing here waits for the device: the sums stay there until the next log.
            batch = torch.stack([torch.where(is_kind, loss, 0.0), is_kind.float()])
            self._batch_losses = batch if self._batch_losses is None else self._batch_losses + batch
        return result

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the mean loss of each kind of batch beside the loss."""
        if "loss" in logs and self._batch_losses is not None:
            sums: Tensor = self.accelerator.reduce(self._batch_losses, reduction="sum")
            self._batch_losses = None
            kinds = zip(("loss_monolingual", "loss_cross_lingual"), *sums.tolist(), strict=True)
            logs = {**logs, **{kind: total / batches for kind, total, batches in kinds if batches}}
        super().log(logs, start_time)


def _parts(datasets: Any) -> list[Any]:
    """The data sets of a dictionary, a single data set, or nothing."""
    if datasets is None:
        return []
    return list(datasets.values()) if isinstance(datasets, Mapping) else [datasets]
