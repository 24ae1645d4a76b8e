"""``ltp --help`` and ``--version``, each command's help with an example that works, and misspelt names."""

import os
import shlex
import subprocess
import sys

import pytest

import ltp
from ltp.cli import COMMANDS
from ltp.cli.flags import read_settings
from ltp.cli.main import main
from ltp.cli.parser import command_parser, load_command
from ltp.settings.data import DataSettings
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings

SETTINGS = {"convert": PruningSettings, "data": DataSettings, "train": TrainingSettings}


def without_torch(folder, *arguments):
    """Run ``ltp`` where importing torch, or what imports it, ends the process."""
    for name in ("torch", "transformers"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "ltp", *arguments], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )


def examples(command):
    """The argument lists of a command's example."""
    for line in load_command(command).EXAMPLE.strip().splitlines():
        for call in line.split("&&"):
            program, *arguments = shlex.split(call)
            if program == "ltp":
                yield arguments


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_needs_no_torch(tmp_path, command):
    done = without_torch(tmp_path, command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: ltp {command} ")
    text, _, example = done.stdout.partition("\nexample:\n")
    assert example.startswith(f"  ltp {command}")
    assert "(default: None)" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_can_be_called_as_it_stands(command):
    calls = list(examples(command))
    assert command in [name for name, *_ in calls]
    for name, *arguments in calls:
        parsed = command_parser(name).parse_args(arguments)
        if name in SETTINGS:
            read_settings(parsed, SETTINGS[name])


def test_every_module_of_a_command_is_in_the_table():
    folder = os.path.dirname(load_command("plan").__file__)
    modules = {name.removesuffix(".py") for name in os.listdir(folder) if name.endswith(".py")}
    assert modules - {"__init__", "flags", "main", "parser"} == set(COMMANDS)


def test_help_and_version_and_a_plan_need_no_torch(tmp_path):
    assert without_torch(tmp_path, "--version").stdout == f"ltp {ltp.__version__}\n"
    for arguments in ([], ["--help"]):
        done = without_torch(tmp_path, *arguments)
        assert done.returncode == 0
        shown = " ".join(done.stdout.split())
        assert all(f" {name} {text}" in shown for name, text in COMMANDS.items())
    (tmp_path / "grid.yaml").write_text("tasks: {rotten_tomatoes: {}}")
    done = without_torch(tmp_path, "plan", f"--configfile={tmp_path}/grid.yaml")
    assert done.returncode == 0 and "rotten_tomatoes" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "ltp: 'trian' is not a command; did you mean train?"),
        (["Train"], "ltp: 'Train' is not a command; did you mean train?"),
        (["frobnicate"], f"ltp: 'frobnicate' is not a command; expected one of {', '.join(COMMANDS)}; see ltp --help"),
        (["--verison"], "ltp: --verison: unknown flag; did you mean --version?"),
        (["train", "--leaning-rate=3"], "ltp train: --leaning-rate: unknown flag; did you mean --learning-rate?"),
        # Also where argparse would say that the flag is missing, and among the flags made of settings.
        (["convert", "--chekpoint", "a", "--output", "b"], "ltp convert: --chekpoint: unknown flag; did you mean "
         "--checkpoint?"),
        (["data", "--output=o", "--text-colums", "a"], "ltp data: --text-colums: unknown flag; did you mean "
         "--text-columns?"),
        (["verify", "--frobnicate", "results"], "ltp verify: --frobnicate: unknown flag; see ltp verify --help"),
        (["export"], "ltp export: the following arguments are required: run, --output; see ltp export --help"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_one_line_that_names_the_nearest(capsys, arguments, line):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{line}\n")


def test_a_text_that_begins_with_dashes_is_a_text():
    parsed = command_parser("explain").parse_args(["run", "--", "--no", "-- dull, all of it"])
    assert parsed.text == ["--no", "-- dull, all of it"]
    assert command_parser("explain").parse_args(["run", "--dull, all of it"]).text == ["--dull, all of it"]


def test_a_flag_may_be_shortened_as_before():
    assert command_parser("plan").parse_args(["--tokens=5"]).tokens_per_second == 5


@pytest.mark.parametrize("flag", ["--save-train-logits", "--teach"])
def test_both_names_of_the_flag_that_saves_a_teachers_outputs(flag):
    required = ["--stage=base", "--method=dense", "--checkpoint=c", "--data=d", "--output=o"]
    assert command_parser("train").parse_args([*required, flag]).save_train_logits is True
    assert command_parser("train").parse_args(required).save_train_logits is False
