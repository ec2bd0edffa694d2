"""Checkpoints of a trainer: which of them are complete."""

import json
import logging
import re
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME

__all__ = ["last_complete_checkpoint"]

logger = logging.getLogger(__name__)

# Without one file of each line a trainer cannot go on, or goes on with a fresh optimizer without a word.
_NEEDED = (
    ("modules.json",),
    ("optimizer*", "global_step*"),  # DeepSpeed keeps optimizer and scheduler in a folder of its own
    ("scheduler.pt", "global_step*"),
    ("rng_state*.pth",),
)


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint in a folder that a trainer wrote to its end; a warning names newer ones.

    A process that is killed leaves a checkpoint half written, or an old one half removed. What a trainer writes last is
    ``trainer_state.json``, and it removes an old checkpoint only then. So a checkpoint counts if that file is whole,
    no other file is cut off, and what a resumption needs is there.

    Args:
        folder: The trainer's ``output_dir``.

    Returns:
        The path of the checkpoint, or None.

    Example:
        ::

            from st_hybrid.checkpoints import last_complete_checkpoint

            print(last_complete_checkpoint("out"))
    """
    found = {
        int(match[1]): path
        for path in Path(folder).glob("*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    }
    for step, path in sorted(found.items(), reverse=True):
        if not (fault := _fault(path, step)):
            return str(path)
        logger.warning("%s is not complete and is passed over: %s.", path, fault)
    if found:
        logger.warning("No checkpoint in %s is complete, so the training starts anew.", folder)
    return None


def _fault(checkpoint: Path, step: int) -> str:
    """What a checkpoint lacks; empty if it is complete."""
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_bytes())
        if state["global_step"] != step:
            return f"{TRAINER_STATE_NAME} is of another step"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{TRAINER_STATE_NAME} is missing or cut off"
    for names in _NEEDED:
        if not any(any(checkpoint.glob(name)) for name in names):
            return f"{' and '.join(names)} are missing"
    weights = 0
    for file in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        if file.suffix == ".safetensors":
            try:
                with safe_open(file, framework="numpy"):  # compares the length of the file with its header
                    weights += 1
            except (SafetensorError, OSError):
                return f"{file.relative_to(checkpoint)} is cut off"
        elif file.suffix in (".pt", ".pth", ".bin") and "global_step" not in str(file.relative_to(checkpoint)):
            if not zipfile.is_zipfile(file):  # torch.save writes the directory of its archive last
                return f"{file.relative_to(checkpoint)} is cut off"
            weights += file.suffix == ".bin" and file.name != "training_args.bin"
    return "" if weights else "the weights are missing"
