# PYTHON_ARGCOMPLETE_OK: argcomplete, where it is active for all programs, looks for these words
"""The ``ltp`` command: parse, call, report errors in one line.

A command's module is imported only when it is called: most need no torch, and torch takes seconds.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from ltp.cli import COMMANDS
from ltp.cli.parser import command_parser, complete, did_you_mean, load_command, main_parser
from ltp.common.errors import LTPError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Problems that the user can fix are one line on standard error.

    Raises SystemExit as argparse does: 0 after --help and --version, 2 for a command or flag that is not known.
    """
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions
        complete()
    arguments = sys.argv[1:] if arguments is None else arguments
    command = arguments[0] if arguments else "--help"
    program = f"ltp {command}" if command in COMMANDS else "ltp"
    try:
        if command not in COMMANDS:
            _without_command(arguments or [command])
        parsed = command_parser(command).parse_args(arguments[1:], argparse.Namespace(command_line=arguments))
        status: int = load_command(command).run(parsed)
        return status
    except KeyboardInterrupt:
        print("ltp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if (line := _one_line(error)) is None:
            raise
        traceback.clear_frames(error.__traceback__)  # else their progress bar is drawn once more, below the line
        gc.collect()
        print(f"{program}: {line}", file=sys.stderr)
        return 1


def _without_command(arguments: list[str]) -> NoReturn:
    """--help, --version, or a command that is not known."""
    parser = main_parser()
    if arguments[0].startswith("-"):
        parser.parse_args(arguments[:1])
    near = did_you_mean(arguments[0], COMMANDS)
    parser.error(f"{arguments[0]!r} is not a command{near or '; expected one of ' + ', '.join(COMMANDS)}")


def _one_line(error: Exception) -> str | None:
    """What to tell the user of an error of theirs or of the machine; None for a fault of this program."""
    if isinstance(error, LTPError):
        return str(error)
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    # Writers without an OSError of their own: safetensors, and torch's zip files.
    full = getattr(error, "errno", None) == errno.ENOSPC
    if full or any(sign in text for sign in ("No space left on device", "file write failed", "unexpected pos")):
        return f"no space left on the device below {Path.cwd()}, or where the output goes; free some and run again"
    return None


if __name__ == "__main__":
    sys.exit(main())
