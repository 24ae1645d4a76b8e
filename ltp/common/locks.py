"""One at a time: a lock on a directory, of which the system lets go when its holder ends, however it ends.

A lock file that lies about is no lock: nothing has to be cleaned up after a kill or a power cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ltp.common.errors import LTPError
from ltp.common.io import shown

NAME = ".lock"
_KEPT: list[TextIO] = []


def acquire(directory: str | os.PathLike[str], fix: str) -> TextIO:
    """Lock a directory, made if need be, for as long as the file that is returned stays open.

    Raises LTPError, which ends with ``fix``, where another process has it, and where nothing can be written.
    """
    path = Path(directory, NAME)
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (the lock lasts as long as it is open)
        except OSError as error:
            why = f"cannot be written ({error.strerror}); make room or give permission, then run again"
            raise LTPError(f"{shown(path.parent)}: {why}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise LTPError(f"{shown(path.parent)}: {holder} is at work here; {fix}") from None
        except OSError as error:  # some network file systems have no locks
            print(f"{shown(path)}: no lock ({error.strerror}); start nothing twice here", file=sys.stderr)
            return file
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # its last holder has just removed it
    holder_text = f"process {os.getpid()} of {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')},"
    with contextlib.suppress(OSError):  # on a full disk it locks without a name
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), holder_text.encode())
    return file


def acquire_until_exit(directory: str | os.PathLike[str], fix: str) -> None:
    """Like ``acquire``, until this process ends."""
    _KEPT.append(acquire(directory, fix))


@contextlib.contextmanager
def exclusive(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes from writing into a directory, such as a job that a killed workflow left running."""
    file = acquire(directory, "wait for it or end it, then run again")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(file.name)
        file.close()
        with contextlib.suppress(OSError):
            os.rmdir(directory)  # where nothing came of it
