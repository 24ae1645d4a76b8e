"""Where and with what a run was made: versions, machine, threads, memory."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from ltp import processes
from ltp.errors import LTPError


def environment() -> dict[str, Any]:
    """Versions of what computes the numbers, the commit of this package, threads and device."""
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
        "processes": processes.count(),
        "device": "cuda" if gpu else "cpu",
        "device_name": torch.cuda.get_device_name() if gpu else processor_name(),
    }


@cache
def commit() -> str | None:
    """The commit of the checkout that this package runs from, marked where files differ; None outside of one."""
    folder = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory_mb() -> float:
    """The largest resident memory that this process has had, in MB (10⁶ bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def cpu_threads() -> int | None:
    """The threads that the caller allows by OMP_NUM_THREADS (Snakemake sets it), if it says."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdigit() and int(threads) > 0 else None


def require_gpus(wanted: int) -> None:
    """Raise LTPError where fewer GPUs can be used than a training asks for."""
    if wanted > 0:
        import torch

        if (there := torch.cuda.device_count()) < wanted:
            raise LTPError(
                f"gpus: {wanted} asked for, {there or 'none'} can be used here; run where there are as many, or set "
                f"gpus: {there} in the grid"
            )


def require_precision(precision: str) -> None:
    """Raise LTPError where this machine does not compute in the number format."""
    import torch

    gpu = torch.cuda.is_available()
    if precision == "fp16" and not gpu:
        raise LTPError("precision: fp16 needs a GPU, and none can be used here; use fp32 or bf16")
    if precision == "bf16" and gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name()
        raise LTPError(f"precision: bf16 is more than this GPU, {name}, can do; use fp16 or fp32")
