"""The parsers of ``ltp`` and of its commands: help with an example, errors in one line, shell completion."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from ltp import __version__
from ltp.cli import COMMANDS

HELP = argparse.RawDescriptionHelpFormatter  # leaves the lines of examples as they are
COMPLETION = 'eval "$(register-python-argcomplete ltp)"'


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and which suggests the nearest flag for a misspelt one."""

    # Narrower than argparse's overloads: commands always pass their arguments.
    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """The arguments. Ends the process with status 2 where they do not fit."""
        # Before anything else: argparse would say first that the flag which was misspelt is missing.
        for word in args:
            flag = word.partition("=")[0]
            if flag == "--":
                break
            known = self._option_string_actions
            if flag.startswith("--") and " " not in flag and not any(name.startswith(flag) for name in known):
                self.error(f"{flag}: unknown flag{did_you_mean(flag, known)}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with status 2 and one line."""
        more = "" if message.endswith("?") else f"; see {self.prog} --help"
        self.exit(2, f"{self.prog}: {message}{more}\n")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean NAME?`` for the name nearest to ``word``; nothing where none is near."""
    return "".join(f"; did you mean {name}?" for name in difflib.get_close_matches(word, known, n=1))


def load_command(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f"ltp.cli.{name}")


def command_parser(name: str) -> Parser:
    """The parser of one command."""
    module = load_command(name)
    description = textwrap.fill(module.__doc__ or "", max(40, shutil.get_terminal_size().columns - 2))
    epilog = f"example:\n{textwrap.indent(module.EXAMPLE.strip(), '  ')}"
    parser = Parser(f"ltp {name}", description=description, epilog=epilog, formatter_class=HELP)
    module.add_arguments(parser)
    return parser


def main_parser(completed: str | None = None) -> Parser:
    """The parser of ``ltp`` itself. Only the command ``completed`` gets its flags, so that no other is imported."""
    parser = Parser(
        "ltp",
        description="Learned token pruning of text encoders. `ltp COMMAND --help` shows a command's flags.",
        epilog=f"completion of commands and flags in bash and zsh:\n  {COMPLETION}",
        formatter_class=HELP,
    )
    parser.add_argument("-V", "--version", action="version", version=f"ltp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name == completed:
            load_command(name).add_arguments(command)
    return parser


def complete() -> None:
    """Answer the shell that asks for completions, by argcomplete's protocol, and end the process."""
    import argcomplete

    command = os.environ["COMP_LINE"].split()[1:2]
    argcomplete.autocomplete(main_parser(*command))
