"""The types that models compute in, and which of them the hardware has."""

from typing import Literal

# torch is imported where it is used: the command line reads the options without it.

Dtype = Literal["float32", "bfloat16", "float16"]


def training_dtype(device: str) -> Dtype:
    """The type to train in by default on a kind of device: bfloat16 where the hardware has it, else float32."""
    return "bfloat16" if _has_bfloat16(device) else "float32"


def require_dtype(dtype: Dtype, device: str) -> None:
    """Raise a ValueError if a kind of device, such as ``cpu``, can only imitate arithmetic in a type."""
    if dtype == "float16" and device == "cpu":
        raise ValueError("dtype float16 is for GPUs. On a CPU leave it out, or choose bfloat16 if the CPU has it.")
    if dtype == "bfloat16" and _has_bfloat16(device) is False:
        lacks = "This GPU" if device == "cuda" else "This CPU has neither AVX512-BF16 nor AMX-BF16: it"
        raise ValueError(f"{lacks} computes more slowly in dtype bfloat16 than in float32. Leave it out.")


def _has_bfloat16(device: str) -> bool | None:
    """Whether the hardware multiplies matrices in bfloat16; None if torch does not know."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # an older torch has it not
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return None
