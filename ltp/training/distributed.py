"""Several processes that share one training: how they are started, which one writes, how they wait for each other.

``torchrun`` and ``accelerate launch`` describe the group in the environment: RANK, LOCAL_RANK, WORLD_SIZE. Without
these variables a process trains by itself. PyTorch is imported only by functions that need it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence


def count() -> int:
    """The processes that share this training."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this is the process that writes files."""
    return int(os.environ.get("RANK", 0)) == 0


def is_launched() -> bool:
    """Whether this process is one of several that a launcher has started."""
    return "LOCAL_RANK" in os.environ


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run ``ltp`` with these arguments in several processes of this machine; returns the exit status.

    They find each other at a free port of the loopback. The threads that the caller allows are shared among them.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, int(threads) // processes) if threads.isdigit() else 1
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={processes}",
        "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1",
        "--module", "ltp", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": str(share)}).returncode


def join() -> None:
    """Make the process group of a shared training: NCCL between GPUs, else gloo."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def wait() -> None:
    """A barrier: returns when all processes have reached it; at once where there is one."""
    if count() > 1:
        import torch.distributed

        torch.distributed.barrier()


def destroy_group() -> None:
    """Close the process group, after the last collective operation."""
    if count() > 1:
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def broadcast_from_main(decision: bool) -> bool:
    """The main process's decision, in all processes: clocks differ, and saving is a collective operation."""
    if count() == 1:
        return decision
    import torch
    import torch.distributed

    device = "cuda" if torch.cuda.is_available() else "cpu"
    shared = torch.tensor([decision], dtype=torch.uint8, device=device)
    torch.distributed.broadcast(shared, src=0)
    return bool(shared.item())
