"""Which GPU a training takes where several are visible: Snakemake counts GPUs but hands none out.

Each training locks one file per GPU that it uses, in a folder of the user's own, and shows its process only those GPUs.
The system lets go of a lock when its process ends, however it ends, so nothing has to be cleaned up.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
LISTED = Path("/proc/driver/nvidia/gpus")  # a folder for each, by the driver


def visible_gpus() -> list[str]:
    """The GPUs that a process started here would see: as the environment names them, else as the driver does."""
    if (given := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # a container may lack the command
        return [str(number) for number, _ in enumerate(LISTED.glob("*"))]
    return listed.stdout.split()


@contextmanager
def reserved(wanted: int) -> Iterator[list[str]]:
    """Show this process, while the context lasts, the ``wanted`` GPUs that the fewest others have reserved.

    Where no more are visible than wanted, nothing changes: there is nothing to choose. More trainings than GPUs
    share them evenly; how many run at a time is the workflow's to say (``resources: gpu``).
    """
    gpus, before = visible_gpus(), os.environ.get(VISIBLE)
    if wanted < 1 or len(gpus) <= wanted:
        yield gpus
        return
    with ExitStack() as locks:
        mine = _lock(gpus, wanted, locks)
        os.environ[VISIBLE] = ",".join(mine)
        try:
            yield mine
        finally:
            if before is None:
                del os.environ[VISIBLE]
            else:
                os.environ[VISIBLE] = before


def _lock(gpus: list[str], wanted: int, locks: ExitStack) -> list[str]:
    """Lock ``wanted`` of the GPUs: first those that nobody has, then those that one other has, and so on."""
    folder = Path(tempfile.gettempdir(), f"ltp-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    mine: list[str] = []
    for others in count():
        for gpu in gpus:
            if gpu not in mine and _try_lock(folder / f"{gpu.replace('/', '-')}.{others}", locks):
                mine.append(gpu)
                if len(mine) == wanted:
                    return mine
    raise AssertionError  # count() does not end


def _try_lock(path: Path, locks: ExitStack) -> bool:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    locks.enter_context(file)
    return True
