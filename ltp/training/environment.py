"""Where and with what a training runs, and whether this machine has the GPUs that are asked for."""

from __future__ import annotations

import platform
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.machine import commit, processor_name
from ltp.training import distributed


def environment(precision: str) -> dict[str, Any]:
    """Versions of what computes the numbers, the commit of this package, threads and device.

    A training in another number format than fp32 is evaluated in fp32 all the same: the record then says so.
    """
    import torch
    import transformers

    import ltp

    gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "ltp": ltp.__version__,
        "commit": commit(),
        "threads": torch.get_num_threads(),
        "processes": distributed.count(),
        "device": "cuda" if gpu else "cpu",
        "device_name": torch.cuda.get_device_name() if gpu else processor_name(),
        **({} if precision == "fp32" else {"evaluation_precision": "fp32"}),
    }


def require_gpus(wanted: int) -> None:
    """Raise LTPError where fewer GPUs can be used than a training asks for."""
    if wanted > 0:
        import torch

        if (there := torch.cuda.device_count()) < wanted:
            raise LTPError(
                f"gpus: {wanted} asked for, {there or 'none'} can be used here; run where there are as many, or set "
                f"gpus: {there} in the grid"
            )
