"""The command line: parse, call, report errors in one line.

Each command's module is imported only when it is called: most need no torch, and torch takes seconds.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
import traceback
import typing
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType

from ltp.errors import LTPError

# Command -> module with add_arguments(parser) and run(arguments) -> exit status, and what the command does.
COMMANDS = {
    "data": ("ltp.commands.data", "read, split and tokenise a task's text"),
    "convert": ("ltp.commands.convert", "make a fine-tuned model ready to prune"),
    "train": ("ltp.commands.train", "train one stage: base, soft or hard"),
    "evaluate": ("ltp.commands.evaluate", "score a saved model, tokens removed, and count its FLOPs"),
    "plan": ("ltp.plan", "what a grid costs before it starts"),
    "progress": ("ltp.progress", "how far a running study is"),
    "tables": ("ltp.tables", "every run below a folder -> runs.csv, frontier.csv, summary.csv"),
    "plots": ("ltp.plots", "tables -> figures"),
    "explain": ("ltp.explain", "which words a model drops, and at which layer"),
    "export": ("ltp.commands.export", "a model as plain checkpoint, ONNX file, or ONNX in 8 bits"),
    "benchmark": ("ltp.commands.benchmark", "time a pruned model against every unpruned way to run it"),
    "report": ("ltp.page", "tables and example sentences -> index.html"),
    "verify": ("ltp.runs", "say which results are sound, which are not, and why"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Problems that the user can mend are one line on standard error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    chosen = arguments[0] if arguments else "--help"
    if chosen in ("-h", "--help") or chosen not in COMMANDS:
        return _usage(chosen)
    try:
        module = importlib.import_module(COMMANDS[chosen][0])
        parser = argparse.ArgumentParser(prog=f"ltp {chosen}", description=module.__doc__)
        module.add_arguments(parser)
        return module.run(parser.parse_args(arguments[1:], argparse.Namespace(given=arguments)))
    except KeyboardInterrupt:
        print("ltp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if (line := _one_line(error)) is None:
            raise
        traceback.clear_frames(error.__traceback__)  # else a progress bar of theirs is drawn once more, below the line
        gc.collect()
        print(f"ltp {chosen}: {line}", file=sys.stderr)
        return 1


def _usage(chosen: str) -> int:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    if chosen in ("-h", "--help"):
        print("\n".join(["usage: ltp COMMAND [--help] ...", "", "Learned token pruning. Commands:", *lines]))
        return 0
    print(f"ltp: {chosen!r} is not a command; expected one of {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


def _one_line(error: Exception) -> str | None:
    """What to tell the user of an error that is theirs or the machine's; None for one that is ours."""
    if isinstance(error, LTPError):
        return str(error)
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    # Writers without OSError of their own: safetensors, and torch's zip files.
    full = getattr(error, "errno", None) == errno.ENOSPC
    if full or any(sign in text for sign in ("No space left on device", "file write failed", "unexpected pos")):
        return f"no space left on the device below {Path.cwd()}, or where the output goes; free some and run again"
    return None


def add_settings(parser: argparse.ArgumentParser, settings: type) -> None:
    """One flag for each field of a settings dataclass, described and typed as the field is."""
    hints = typing.get_type_hints(settings)
    for field in fields(settings):
        kind = hints[field.name]
        if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union:
            kind = next(part for part in typing.get_args(kind) if part is not NoneType)
        flag = "--" + field.name.rstrip("_").replace("_", "-")
        text = field.metadata["help"].replace("%", "%%")
        options: dict = {"dest": field.name, "default": field.default, "help": text}
        if kind is bool:
            options["action"] = "store_true"
        elif typing.get_origin(kind) is tuple:
            options |= {"nargs": "+", "metavar": "NAME"}
        else:
            options |= {"type": kind, "choices": field.metadata.get("choices")}
        parser.add_argument(flag, **options)


def read_settings(arguments: argparse.Namespace, settings: type):
    """The settings dataclass that the flags describe; LTPError names a value out of bounds."""
    return settings(**{field.name: getattr(arguments, field.name) for field in fields(settings)})


if __name__ == "__main__":
    sys.exit(main())
