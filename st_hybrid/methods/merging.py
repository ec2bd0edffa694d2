"""Average the weights of a trained model with those of its start."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["merged_weights"]


@torch.no_grad()
def merged_weights(
    start: nn.Module | Mapping[str, Tensor], trained: nn.Module | Mapping[str, Tensor], start_share: float = 0.5
) -> dict[str, Tensor]:
    """Average the weights of two models of one architecture: ``start_share`` of the first and the rest of the second.

    Fine-tuning on plain data costs an encoder some of what it could before; the average keeps most of both. Averages
    are computed in float32 or finer and are on the device of ``trained``. Weights that are equal in both, such as
    frozen ones, stay as they are; buffers that are not floating-point are those of ``trained``.

    Args:
        start: The model before training, or its state dict.
        trained: The trained model, or its state dict.
        start_share: Share of the start's weights, from 0 to 1.

    Returns:
        A state dict, for ``trained.load_state_dict``.

    Raises:
        ValueError: The share is out of range, or the models differ in architecture.

    Example:
        ::

            from sentence_transformers import SentenceTransformer
            from st_hybrid.methods.merging import merged_weights

            start, trained = (SentenceTransformer("intfloat/multilingual-e5-small") for _ in range(2))
            trained.load_state_dict(merged_weights(start, trained, 0.3))  # 3 parts of the start and 7 of the trained
            trained.save_pretrained("merged")

    References:
        Wortsman et al. 2022, Robust fine-tuning of zero-shot models, https://arxiv.org/abs/2109.01903
    """
    if not 0 <= start_share <= 1:
        raise ValueError(f"start_share must be between 0 and 1, got {start_share}.")
    before, after = (part.state_dict() if isinstance(part, nn.Module) else part for part in (start, trained))
    if alone := before.keys() ^ after.keys():
        name = min(alone)
        raise ValueError(
            f"Only {'the start' if name in before else 'the trained model'} has the weight {name}. Merge models of one "
            "architecture; merge adapters into their model first."
        )
    merged = {}
    for name, weight in after.items():
        other = before[name]
        if weight.shape != other.shape:
            raise ValueError(
                f"The weight {name} has the shape {tuple(other.shape)} in the start and {tuple(weight.shape)} in the "
                "trained model. Merge models of one architecture."
            )
        if weight.is_floating_point():
            exact = torch.promote_types(torch.promote_types(weight.dtype, other.dtype), torch.float32)
            weight = torch.lerp(weight.to(exact), other.to(weight.device, exact), start_share)
        merged[name] = weight
    return merged
