"""The number format of a training's matrix products: what ``auto`` stands for here, and what this machine can do."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ltp.common.errors import LTPError
from ltp.models.prepacked_linear import has_bfloat16
from ltp.results.run import CHECKPOINT
from ltp.training import distributed
from ltp.training.resuming import begun_precision
from ltp.training.stage import Stage


def has_bf16() -> bool:
    """Whether the GPU, or the processor where there is none, multiplies bf16 in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return has_bfloat16()


def resolve_precision(stage: Stage, metadata: Mapping[str, Any]) -> Stage:
    """The stage with the number format that it computes in: for ``auto``, bf16 where ``has_bf16``, else fp32.

    A training that goes on from its checkpoint keeps the format that it began with, emulated if need be; a line on
    stderr then says so. ``metadata`` is what is known of the run so far. All processes of a shared training get the
    same answer.
    """
    if stage.settings.precision != "auto":
        return stage
    begun = begun_precision(stage.output / CHECKPOINT, metadata)
    half = distributed.broadcast_from_main(has_bf16() if begun is None else begun == "bf16")
    if half and not has_bf16() and distributed.is_main():
        print(
            f"{stage.output}: the training began in bf16 and goes on in it, emulated on this machine and slow; to "
            f"start anew, delete {stage.output / CHECKPOINT}",
            file=sys.stderr,
        )
    return replace(stage, settings=replace(stage.settings, precision="bf16" if half else "fp32"))


def require_precision(precision: str) -> None:
    """Raise LTPError for a number format that this machine lacks. Processors without bf16 emulate it."""
    gpu = torch.cuda.is_available()
    if precision == "fp16" and not gpu:
        raise LTPError("precision: fp16 needs a GPU, and none can be used here; use fp32 or bf16")
    if precision == "bf16" and gpu and not has_bf16():
        name = torch.cuda.get_device_name()
        raise LTPError(f"precision: bf16 is more than this GPU, {name}, can do; use fp16 or fp32")
