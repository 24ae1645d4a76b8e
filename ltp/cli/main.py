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
from pathlib import Path

from ltp.common.errors import LTPError

# Command -> module with add_arguments(parser) and run(arguments) -> exit status, and what the command does.
COMMANDS = {
    "data": ("ltp.cli.data", "read, split and tokenise a task's text"),
    "convert": ("ltp.cli.convert", "make a fine-tuned model ready to prune"),
    "train": ("ltp.cli.train", "train one stage: base, soft or hard"),
    "evaluate": ("ltp.cli.evaluate", "score a saved model, tokens removed, and count its FLOPs"),
    "plan": ("ltp.cli.plan", "what a grid costs before it starts"),
    "progress": ("ltp.cli.progress", "how far a running study is"),
    "tables": ("ltp.cli.tables", "every run below a folder -> runs.csv, frontier.csv, summary.csv"),
    "plots": ("ltp.cli.plots", "tables -> figures"),
    "explain": ("ltp.cli.explain", "which words a model drops, and at which layer"),
    "export": ("ltp.cli.export", "a model as plain checkpoint, ONNX file, or ONNX in 8 bits"),
    "benchmark": ("ltp.cli.benchmark", "time a pruned model against every unpruned way to run it"),
    "report": ("ltp.cli.report", "tables and example sentences -> index.html"),
    "verify": ("ltp.cli.verify", "say which results are sound, which are not, and why"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Problems that the user can fix are one line on standard error."""
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


if __name__ == "__main__":
    sys.exit(main())
