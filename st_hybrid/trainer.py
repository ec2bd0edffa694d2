"""A sentence-transformers trainer whose defaults are hybrid batch training, and its training curves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import BatchSamplers, DefaultBatchSampler, MultiDatasetBatchSamplers
from sentence_transformers.util.distributed import get_world_size
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss
from st_hybrid.pairs import pair_text
from st_hybrid.sampler import HybridBatchSampler, StepwiseProportionalBatchSampler


class HybridTrainer(SentenceTransformerTrainer):
    """Train a SentenceTransformer with hybrid batches.

    The ordinary ``SentenceTransformerTrainer`` with three defaults: :class:`~st_hybrid.HybridBatchSampler`,
    :class:`~st_hybrid.MultilingualMultipleNegativesRankingLoss`, and the mean loss of monolingual and of cross-lingual
    batches beside the loss in every log (``loss_monolingual`` and ``loss_cross_lingual``). Under several processes
    each step of a ``DatasetDict`` comes from one data set
    (:class:`~st_hybrid.StepwiseProportionalBatchSampler`).

    Args:
        model: The model to train.
        args: Training arguments; they are left as they are. What they say about the samplers counts unless it is
            sentence-transformers' own default.
        train_dataset: Pairs of :func:`~st_hybrid.parallel_pairs`, or a ``DatasetDict`` of them.
        eval_dataset: Pairs to compute a validation loss on. Their batches come from the same kind of sampler, so they
            must allow the batches that it draws.
        loss: Another loss, as in sentence-transformers.
        evaluator: One or more evaluators, such as :class:`~st_hybrid.CrossLingualRetrievalEvaluator`.
        batch_sampler: A sampler class, or a callable that makes a sampler of the same arguments. Without it the
            sampler of ``args`` counts, and without that ``HybridBatchSampler``.
        **kwargs: The other arguments of ``SentenceTransformerTrainer``.

    Raises:
        ValueError: The training data did not come from ``parallel_pairs``, or ``eval_dataset`` does not allow the
            sampler's batches.

    References:
        Elmahdy, Lin and Ahmad 2024, https://arxiv.org/abs/2408.10536

    Example:
        ::

            from functools import partial
            from datasets import Dataset
            from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
            from st_hybrid import HybridBatchSampler, HybridTrainer, parallel_pairs

            rows = Dataset.from_list([
                {"id": 1, "language": "en", "query": "Where do storks nest?", "positive": "They nest on chimneys."},
                {"id": 1, "language": "de", "query": "Wo nisten Störche?", "positive": "Sie nisten auf Kaminen."},
                {"id": 2, "language": "en", "query": "What do bees make?", "positive": "They make wax."},
                {"id": 2, "language": "de", "query": "Was machen Bienen?", "positive": "Sie machen Wachs."},
            ])
            HybridTrainer(
                model=SentenceTransformer("intfloat/multilingual-e5-small"),
                args=SentenceTransformerTrainingArguments("out", per_device_train_batch_size=2),
                train_dataset=parallel_pairs(rows),
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
        if train_dataset is not None:
            for part in _parts(train_dataset):
                pair_text(part)  # raises if it is of another origin

        # The caller may hand the same arguments to another trainer.
        args = SentenceTransformerTrainingArguments("tmp_trainer") if args is None else copy.copy(args)
        if batch_sampler is not None:
            args.batch_sampler = batch_sampler
        elif args.batch_sampler == BatchSamplers.BATCH_SAMPLER:
            args.batch_sampler = HybridBatchSampler
        if args.multi_dataset_batch_sampler == MultiDatasetBatchSamplers.PROPORTIONAL:
            args.multi_dataset_batch_sampler = StepwiseProportionalBatchSampler

        super().__init__(model, args, train_dataset, eval_dataset, loss, evaluator, **kwargs)
        if _multilingual_losses(self.loss):
            # In front of TensorBoard and the other reporters, which write down what they find in the logs.
            self.callback_handler.callbacks.insert(0, BatchKindLosses(self.loss))
        if eval_dataset is not None and self.args.eval_strategy != "no":
            self._check_evaluation_batches(eval_dataset)

    def _check_evaluation_batches(self, eval_dataset: Dataset | Mapping[str, Dataset]) -> None:
        """Make the samplers once, so that what they object to comes up before the training, not amid it."""
        for part in _parts(eval_dataset):
            if isinstance(part, Dataset):
                self.get_batch_sampler(part, self.args.eval_batch_size, self.args.dataloader_drop_last)

    def get_default_loss(self, model: Any) -> nn.Module:
        """The loss if none was given."""
        return MultilingualMultipleNegativesRankingLoss(model)


class BatchKindLosses(TrainerCallback):
    """Log the mean loss of monolingual and of cross-lingual batches as two series.

    ``loss_monolingual`` and ``loss_cross_lingual`` join ``loss`` in ``trainer.state.log_history``, on the screen and in
    all reporters that stand after this callback. They are means over the batches of one logging window and over all
    processes; a kind that the window has no batch of is left out.

    Args:
        loss: The trainer's loss, or dictionary of losses by data set, with a
            :class:`~st_hybrid.MultilingualMultipleNegativesRankingLoss` in it.

    Raises:
        ValueError: There is no such loss in it.

    Relations:
        :class:`~st_hybrid.HybridTrainer` has it in front of all reporters. A plain trainer's ``callbacks`` stand behind
        those of ``report_to``; put it in front of them with
        ``trainer.callback_handler.callbacks.insert(0, BatchKindLosses(loss))``.

    Example:
        ::

            loss = MultilingualMultipleNegativesRankingLoss(model)
            trainer = SentenceTransformerTrainer(
                model=model, args=args, train_dataset=pairs, loss=loss, callbacks=[BatchKindLosses(loss)]
            )
    """

    def __init__(self, loss: nn.Module | Mapping[str, nn.Module]) -> None:
        self.losses = _multilingual_losses(loss)
        if not self.losses:
            raise ValueError(
                f"{type(loss).__name__} has no MultilingualMultipleNegativesRankingLoss in it, and no other loss knows "
                "the kind of a batch."
            )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop what an earlier run left."""
        for loss in self.losses:
            loss.reset_batch_kind_losses()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the two means to the logs of a training window, and begin the next."""
        if logs is None or "loss" not in logs:
            return
        windows = [loss.batch_kind_losses() for loss in self.losses]
        kinds = list(windows[0])
        sums = torch.tensor([[window[kind] for kind in kinds] for window in windows], device=args.device).sum(dim=0)
        if get_world_size() > 1:
            torch.distributed.all_reduce(sums)
        for kind, (total, batches) in zip(kinds, sums.tolist(), strict=True):
            if batches:
                logs[f"loss_{kind}"] = state.log_history[-1][f"loss_{kind}"] = total / batches
        for loss in self.losses:
            loss.reset_batch_kind_losses()


def _multilingual_losses(
    loss: nn.Module | Mapping[str, nn.Module],
) -> list[MultilingualMultipleNegativesRankingLoss]:
    modules = dict.fromkeys(module for part in _parts(loss) for module in part.modules())  # two data sets may share one
    return [module for module in modules if isinstance(module, MultilingualMultipleNegativesRankingLoss)]


def _parts(whole: Any) -> list[Any]:
    """What is given by data set, or once for all."""
    return list(whole.values()) if isinstance(whole, Mapping) else [whole]
