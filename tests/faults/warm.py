"""The real ``ltp`` commands without the seconds that PyTorch takes to import: one warm process forks for each of them.

``serve`` is that process. ``client`` is the source of the ``ltp/__main__.py`` that a copy of the project gets: it hands
its arguments over and lives exactly as long as the command does, so that what kills the one kills the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SOCKET = "LTP_WARM"
PATIENCE = 1800  # seconds: a busy machine is no fault
CLIENT = f"""
import json, os, signal, socket, sys

def main():
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(os.environ[{SOCKET!r}])
    asked = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(channel, [json.dumps(asked).encode() + b"\\n"], [1, 2])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: channel.send(bytes([number])))
    answer = channel.recv(1)
    if not answer:
        os.kill(os.getpid(), signal.SIGKILL)  # so did the command
    return answer[0]

if __name__ == "__main__":
    sys.exit(main())
"""


def serve(path: str) -> None:
    """Import what the commands need, then fork for each that comes to the socket."""
    import matplotlib.pyplot  # noqa: F401
    import torch  # noqa: F401

    from ltp.common.machine import commit

    commit()  # remembered, so that all commands name the same one
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:  # closed: the tests have ended, however they did
            return
        channel, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _command(channel)
        channel.close()


def _command(channel: socket.socket) -> None:
    """In the forked process: become the command that was asked for."""
    text, streams, _, _ = socket.recv_fds(channel, 1 << 20, 2)
    while not text.endswith(b"\n"):
        text += channel.recv(1 << 20)
    asked = json.loads(text)
    for number, stream in zip((1, 2), streams, strict=True):
        os.dup2(stream, number)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_obey, args=(channel,), daemon=True).start()
    status = 1
    try:
        from ltp.cli.main import main

        status = main(asked["arguments"])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            channel.send(bytes([status or 0]))
        os._exit(0)


def _obey(channel: socket.socket) -> None:
    """Die when the client is gone, and pass its signals on."""
    while number := channel.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def commands(folder: Path) -> Iterator[str]:
    """A warm process; yields the address of its socket, which goes into the environment as ``SOCKET``."""
    path = str(folder / "warm")
    here = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, __file__, path], env=environment, start_new_session=True, stdin=subprocess.PIPE
    )
    try:
        until = time.monotonic() + PATIENCE
        while not os.path.exists(path):
            assert process.poll() is None and time.monotonic() < until, "the warm process did not come up"
            time.sleep(0.05)
        yield path
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    serve(sys.argv[1])
