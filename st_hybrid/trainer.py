"""A trainer with hybrid batches, which logs the loss of each kind of batch."""

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import BatchSamplers, DefaultBatchSampler, MultiDatasetBatchSamplers
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from st_hybrid.checkpoints import last_complete_checkpoint
from st_hybrid.files import writing
from st_hybrid.loss import MultilingualMultipleNegativesRankingLoss
from st_hybrid.pairs import is_ordinary, pair_text
from st_hybrid.sampler import HybridBatchSampler, StepwiseProportionalBatchSampler

logger = logging.getLogger(__name__)


def train_in_float32(model: nn.Module) -> None:
    """Convert weights in bfloat16 or float16 to float32 and say so: optimizers round small steps away in these.

    Weights of which none is trained, as below an adapter, stay as they are.
    """
    half = {weight.dtype for weight in model.parameters() if weight.requires_grad} & {torch.bfloat16, torch.float16}
    if half:
        model.float()
        stored = str(half.pop()).removeprefix("torch.")
        logger.warning(
            "The model is stored in %s. It is trained and saved in float32; computing in bfloat16 makes it faster.",
            stored,
        )


class HybridTrainer(SentenceTransformerTrainer):
    """Train a SentenceTransformer with hybrid batches.

    The defaults are :class:`~st_hybrid.HybridBatchSampler`, for several data sets
    :class:`~st_hybrid.StepwiseProportionalBatchSampler`, and
    :class:`~st_hybrid.MultilingualMultipleNegativesRankingLoss`. The logs also hold ``loss_monolingual`` and
    ``loss_cross_lingual``: the mean loss of the batches of each kind since the last log, over all processes.

    Args:
        model: The model to train.
        args: Training arguments. Samplers other than sentence-transformers' defaults are used.
        train_dataset: Pairs of :func:`~st_hybrid.parallel_pairs`, or a ``DatasetDict`` with such pairs, in which
            ordinary data sets give random batches.
        eval_dataset: Pairs or ordinary data to compute a validation loss on.
        loss: Another loss, as in sentence-transformers.
        evaluator: One or more evaluators, such as :class:`~st_hybrid.CrossLingualRetrievalEvaluator`.
        batch_sampler: A sampler class, or a callable with its arguments. By default the sampler of ``args``.
        **kwargs: The other arguments of ``SentenceTransformerTrainer``.

    Raises:
        ValueError: The training data did not come from ``parallel_pairs`` or are too few for a batch, or prompts name
            a column that the data do not have.

    Example:
        ::

            from datasets import Dataset
            from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
            from st_hybrid import HybridTrainer, parallel_pairs

            model = SentenceTransformer("intfloat/multilingual-e5-small")
            args = SentenceTransformerTrainingArguments("out", max_steps=5)
            HybridTrainer(model, args, parallel_pairs(Dataset.from_json("rows.jsonl"))).train()
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
        if not isinstance(model, SentenceTransformer | None):
            kind = type(model).__name__
            raise TypeError(
                f"HybridTrainer trains a SentenceTransformer, not a {kind}. Use {kind}Trainer, with "
                "batch_sampler=HybridBatchSampler and loss=MultilingualMultipleNegativesRankingLoss(model)."
            )
        if model is not None:
            train_in_float32(model)
        # The caller may pass the same arguments to another trainer.
        args = SentenceTransformerTrainingArguments("tmp_trainer") if args is None else copy.copy(args)
        if batch_sampler is not None:
            args.batch_sampler = batch_sampler
        elif args.batch_sampler == BatchSamplers.BATCH_SAMPLER:
            args.batch_sampler = HybridBatchSampler
        if args.multi_dataset_batch_sampler == MultiDatasetBatchSamplers.PROPORTIONAL:
            args.multi_dataset_batch_sampler = StepwiseProportionalBatchSampler
        self._sets = {"train_dataset": _parts(train_dataset), "eval_dataset": _parts(eval_dataset)}
        training = self._sets["train_dataset"]
        for key, part in training.items():
            if not is_ordinary(part) or all(map(is_ordinary, training.values())):
                with _naming("train_dataset", key):
                    pair_text(part)  # raises if the part did not come from parallel_pairs
        for option in ("prompts", "router_mapping"):
            _check_columns(option, getattr(args, option), self._sets.values())
        super().__init__(model, args, train_dataset, eval_dataset, loss, evaluator, **kwargs)
        self._role = "eval_dataset"
        for part in self._sets["eval_dataset"].values() if self.args.eval_strategy != "no" else ():
            if isinstance(part, Dataset):  # let the sampler raise now, not during the training
                self.get_batch_sampler(part, self.args.eval_batch_size, self.args.dataloader_drop_last)
        # Columns: monolingual, cross-lingual. Rows: the sum of the losses, the number of batches.
        self._batch_losses: Tensor | None = None

    def get_batch_sampler(self, dataset: Dataset, batch_size: int, *args: Any, **kwargs: Any) -> Any:
        """Get the batches of a data set; errors name it, and only those of evaluation data may be smaller."""
        with _naming(self._role, *(key for key, part in self._sets[self._role].items() if part is dataset)):
            sampler: Any = super().get_batch_sampler(dataset, batch_size, *args, **kwargs)
            if self._role == "train_dataset" and sampler.batch_size < batch_size:
                raise ValueError(f"it fills batches of {sampler.batch_size:,} at most. Choose a smaller batch.")
        return sampler

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Get the batches of evaluation data."""
        self._role = "eval_dataset"
        return super().get_eval_dataloader(eval_dataset)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Get the batches of the training data; a run that is resumed in a later epoch draws those of that epoch."""
        self._role = "train_dataset"
        loader = super().get_train_dataloader()
        shard: Any = loader.batch_sampler
        if hasattr(shard, "batch_sampler"):
            shard.sampler = shard.batch_sampler  # where accelerate looks for set_epoch after it has skipped batches
        return loader

    def get_default_loss(self, model: Any) -> nn.Module:
        """The multilingual loss."""
        return MultilingualMultipleNegativesRankingLoss(model)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as ``Trainer.train`` does. True resumes from the newest complete checkpoint.

        If no checkpoint is complete, the training starts anew, with a warning. A run that ended with the checkpoint is
        not trained further.
        """
        self._batch_losses = None
        if resume_from_checkpoint is True and any(Path(str(self.args.output_dir)).glob("checkpoint-*")):
            resume_from_checkpoint = last_complete_checkpoint(str(self.args.output_dir))
        if isinstance(resume_from_checkpoint, str):
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_NAME))
            if self._ended(state):
                self.state = state
                best = state.best_model_checkpoint if self.args.load_best_model_at_end else None
                self._load_from_checkpoint(best or resume_from_checkpoint)
                return TrainOutput(state.global_step, 0.0, {"train_runtime": 0.0})
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _ended(self, state: TrainerState) -> bool:
        """Whether nothing is left to train; ``Trainer`` would take one more step."""
        callbacks: Any = state.stateful_callbacks  # as JSON holds them
        stored = callbacks.get("EarlyStoppingCallback", {})
        waited = stored.get("attributes", {}).get("early_stopping_patience_counter", 0)
        patience = [
            one.early_stopping_patience
            for one in self.callback_handler.callbacks
            if isinstance(one, EarlyStoppingCallback)
        ]
        steps, epochs = self.args.max_steps, self.args.num_train_epochs
        reached = state.global_step >= steps if steps > 0 else (state.epoch or 0) >= epochs
        return reached or any(waited >= one for one in patience)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint; an error of the disk says where."""
        with writing(str(self.args.output_dir)):
            super()._save_checkpoint(*args, **kwargs)

    def _save_rng_state(self, output_dir: str) -> None:
        """Save the state of this process's random numbers, and wait for the others.

        The first process then writes ``trainer_state.json``, which marks the checkpoint as complete.
        """
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss, and add it to the mean of its kind of batch."""
        result: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.get("label")
        if self.model.training and labels is not None and labels.ndim == 2:
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


def _parts(data: Any) -> dict[str, Any]:
    """The data sets of a dictionary, the one data set under the name "", or nothing."""
    if data is None:
        return {}
    return dict(data) if isinstance(data, Mapping) else {"": data}


@contextmanager
def _naming(role: str, key: str = "", *_: str) -> Iterator[None]:
    """Let errors begin with the name of the data set."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{role}{f'[{key!r}]' if key else ''}: {error}") from error


def _check_columns(option: str, given: Any, data: Iterable[Mapping[str, Any]]) -> None:
    """Refuse prompts and routes for columns that no data set has: they would be left out without a word."""
    columns: dict[str, set[str]] = {}
    for parts in data:
        for name, part in parts.items():
            columns.setdefault(name, set()).update(set(part.column_names or ()) - {"label"})
    every = set().union(*columns.values())
    for key, value in given.items() if isinstance(given, Mapping) else ():
        known, keys = (columns[key], set(value)) if isinstance(value, Mapping) and key in columns else (every, {key})
        if unknown := keys - known - columns.keys():
            raise ValueError(
                f"{option} has the key {min(unknown)!r}, but the columns are {', '.join(sorted(known))}. Use these "
                "names, which parallel_pairs gives to the columns of the rows."
            )
