"""What the hardware has decides the default, and what it lacks is refused. The hardware is made up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from st_hybrid.dtypes import Dtype, require_dtype, training_dtype


def have(monkeypatch: pytest.MonkeyPatch, cpu: Mapping[str, bool], gpu: bool) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: cpu, raising=False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: gpu or including_emulation)


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_trains_in_bfloat16_where_the_hardware_has_it(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, {"avx512_f": True, flag: True}, gpu=True)
    assert training_dtype("cpu") == training_dtype("cuda") == "bfloat16"
    for dtype in ("float32", "bfloat16"):
        require_dtype(dtype, "cpu")  # type: ignore[arg-type]


def test_what_would_be_imitated_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, {"avx512_f": True, "avx512_bf16": False}, gpu=False)
    assert training_dtype("cpu") == training_dtype("cuda") == "float32"
    refused: list[tuple[Dtype, str, str]] = [
        ("bfloat16", "cpu", "This CPU has neither AVX512-BF16 nor AMX-BF16"),
        ("bfloat16", "cuda", "This GPU computes more slowly in dtype bfloat16"),
        ("float16", "cpu", "dtype float16 is for GPUs"),
    ]
    for dtype, device, message in refused:
        with pytest.raises(ValueError, match=message):
            require_dtype(dtype, device)
    require_dtype("float16", "cuda")


def test_what_torch_does_not_know_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for device in ("cpu", "mps"):
        assert training_dtype(device) == "float32"
        require_dtype("bfloat16", device)
