"""Shell completion, asked for as bash and zsh do by argcomplete's protocol."""

import os
import re
import subprocess
import sys

import pytest

from ltp.cli import COMMANDS


def completions(folder, line: str, *options: str) -> tuple[list[str], str]:
    """What is offered at the end of a command line, and what was written to standard error."""
    (folder / "torch.py").write_text("raise SystemExit('torch was imported')")
    answer = folder / "answer"
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    shell = {
        "PYTHONPATH": path, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, *options, "-m", "ltp"], cwd=folder, capture_output=True, text=True, env=os.environ | shell
    )
    assert done.returncode == 0 and done.stdout == ""
    return [word.strip() for word in answer.read_text().split("\n")], done.stderr


def test_commands(tmp_path):
    assert set(COMMANDS) <= set(completions(tmp_path, "ltp ")[0])
    assert completions(tmp_path, "ltp pl")[0] == ["plan", "plots"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ltp train --temp", ["--temperature"]),
        ("ltp train --stage ", ["base", "soft", "hard"]),
        ("ltp train --stage=base --lambda", ["--lambda", "--lambda-warmup"]),
        ("ltp data --source ", ["packaged", "local", "hub"]),
        ("ltp prune model --protect ", ["none", "first"]),
        ("ltp prune model --mi", ["--minutes"]),
        ("ltp export run --o", ["--output", "--onnx"]),
    ],
)
def test_flags_and_values_of_a_command(tmp_path, line, offered):
    assert completions(tmp_path, line)[0] == offered


def test_files(tmp_path):
    (tmp_path / "grid.yaml").touch()
    assert completions(tmp_path, "ltp plan --configfile gr")[0] == ["grid.yaml"]


def test_no_other_command_is_imported(tmp_path):
    _, imported = completions(tmp_path, "ltp verify --he", "-v")
    modules = set(re.findall(r"^import 'ltp\.cli\.(\w+)'", imported, re.MULTILINE))
    assert modules == {"main", "parser", "verify"}
