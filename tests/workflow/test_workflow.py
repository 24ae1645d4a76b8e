"""The workflow: what Snakemake plans for a grid and, with made-up trainings, that it runs and reruns as it should."""

import csv
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "environment.yml", "workflow", "profiles", "config")
TINY = {
    "tasks": {"rotten_tomatoes": {}},
    "soft": {"temperatures": [0.001], "lambdas": [0.1]},
    "hard": {"learning_rates": [2e-5]},
    "baselines": {"topk": {"keep_rates": [0.5]}, "manual": {"final_token_thresholds": [0.006]}},
}
GRID = "config/grid.yaml"
AGGREGATES = {"tables": 1, "plots": 1, "examples": 1, "page": 1, "all": 1}


def snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run Snakemake in a folder, as a user would who has not activated any environment."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs per rule of a dry run."""
    done = snakemake(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    table = re.search(r"^-+ +-+\n(.*?)^total", done.stdout + done.stderr, re.MULTILINE | re.DOTALL)
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table[1] if table else "", re.MULTILINE)}


def write_grid(folder: Path, grid: dict) -> None:
    (folder / GRID).write_text(yaml.safe_dump(grid))


@pytest.fixture
def checkout(tmp_path):
    """A copy of the project whose ``ltp data``, ``convert`` and ``train`` are made up (see fake_cli.py)."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    shutil.copytree(ROOT / "ltp", tmp_path / "ltp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/helpers/fake_cli.py", tmp_path / "ltp/__main__.py")
    shutil.copy(ROOT / "tests/helpers/fake_study.py", tmp_path)
    write_grid(tmp_path, TINY)
    return tmp_path


def one_line(done: subprocess.CompletedProcess) -> str:
    """What a refused run says, but for the line that names the profile."""
    assert done.returncode != 0 and not done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(lines) == 1, lines
    return lines[0]


# ---------------------------------------------------------------------------------------------------------- dry runs


def test_the_papers_study_has_the_right_number_of_jobs(tmp_path):
    tasks, temperatures, lambdas, rates, keep_rates, thresholds = 8, 5, 6, 3, 5, 5
    done = planned(ROOT, "--configfile", "config/paper.yaml", "--nolock", "--config", f"results_dir={tmp_path}/none")
    assert done == {
        "prepare_data": tasks,
        "train_base": tasks,
        "convert": tasks * (1 + 1 + keep_rates + thresholds),  # learned thresholds, the control, the baselines
        "train_soft": tasks * temperatures * lambdas,
        "train_hard": tasks * temperatures * lambdas * rates,
        "train_baseline": tasks * (1 + keep_rates + thresholds) * rates,
        "tables": 1,
        "plots": 1,
        "examples": tasks,
        "page": 1,
        "all": 1,
    }


def test_every_task_and_seed_is_a_study_of_its_own_but_its_data_are_made_once(checkout):
    write_grid(checkout, TINY | {"tasks": {"rotten_tomatoes": {}, "imdb": {}}, "seeds": [0, 1, 2]})
    counts = planned(checkout)
    assert counts["prepare_data"] == 2
    assert counts["train_base"] == counts["train_soft"] == counts["train_hard"] == 6
    assert counts["convert"] == 18 and counts["train_baseline"] == 12


def test_the_control_is_trained_with_the_baselines_and_changes_no_other_run(checkout):
    done = snakemake(checkout, "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert planned(checkout) == {}
    write_grid(checkout, TINY | {"baselines": TINY["baselines"] | {"dense": {}}})
    assert planned(checkout) == {"convert": 1, "train_baseline": 1, **AGGREGATES}
    done = snakemake(checkout, "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert (checkout / "results/rotten_tomatoes/seed~0/dense+/hard/lr~2e-05/metrics.json").is_file()
    assert "dense, trained as long" in (checkout / "results/index.html").read_text()
    assert planned(checkout) == planned(checkout, "baselines") == {}


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        ("base", {"prepare_data": 1, "train_base": 1, "base": 1}),
        ("soft", {"prepare_data": 1, "train_base": 1, "convert": 1, "train_soft": 1, "soft": 1}),
        ("hard", {"prepare_data": 1, "train_base": 1, "convert": 1, "train_soft": 1, "train_hard": 1, "hard": 1}),
        ("baselines", {"prepare_data": 1, "train_base": 1, "convert": 2, "train_baseline": 2, "baselines": 1}),
    ],
)
def test_a_part_of_the_study_can_be_asked_for_by_name(checkout, target, jobs):
    assert planned(checkout, target) == jobs


def test_flops_targets_stand_in_the_place_of_lambdas_or_beside_them(checkout):
    targets = {"flops_targets": [0.7, 0.5, 0.3]}
    write_grid(checkout, TINY | {"soft": targets})
    counts = planned(checkout)
    assert (counts["train_budget_soft"], counts["set_budget"], counts["convert"]) == (1, 3, 3)
    assert "train_soft" not in counts and "train_hard" not in counts
    write_grid(checkout, TINY | {"soft": TINY["soft"] | targets})
    done = snakemake(checkout, "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    with (checkout / "results/runs.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "budget"]
    assert len(rows) == 4 and {row["setting"] for row in rows} == {f"flops_target={share}" for share in (0.3, 0.5, 0.7)}
    assert "learned budget" in (checkout / "results/index.html").read_text()
    assert snakemake(checkout, "--cores", "2", "--dry-run").stdout.count("Nothing to be done") == 1


def test_speed_is_measured_only_where_it_is_asked_for(checkout):
    assert "speed" in planned(checkout, "speed") and "speed" not in planned(checkout)


def test_the_workflow_is_read_where_no_cores_are_given(checkout):
    """As by --unlock, and by a driver that gives its jobs to a cluster."""
    for asked in ("--unlock", "--summary"):
        done = snakemake(checkout, asked)
        assert done.returncode == 0, done.stderr


def test_a_grid_on_the_command_line_stands_in_the_place_of_the_default_one(checkout):
    (checkout / "other.yaml").write_text("tasks: {imdb: {}}\nbaselines: {topk: null, manual: null}\nresults_dir: out\n")
    assert planned(checkout, "--configfile", "other.yaml")["prepare_data"] == 1
    assert "train_baseline" not in planned(checkout, "--configfile", "other.yaml")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            "tasks: {imdb: {}}\nsoft: {lamdas: [0.1]}",
            "config/grid.yaml: soft.lamdas: unknown key; did you mean lambdas?",
        ),
        ("tasks: {imdb: {}}\nseeds: [1, 1]", "config/grid.yaml: seeds[1]: 1 is there twice, see seeds[0]; remove one"),
        (
            "tasks: {bbc_news: {data: {validation_examples: 2000, test_examples: 200}}}",
            "config/grid.yaml: tasks.bbc_news.data: validation_examples 2,000 and test_examples 200 leave none of the "
            "2,125 packaged examples to train on; choose fewer",
        ),
        ("tasks: [", "config/grid.yaml: not YAML, line 1: expected the node content, but found '<stream end>'"),
        (None, "config/grid.yaml: not there; expected a grid such as config/grid.yaml"),
    ],
)
def test_a_bad_grid_ends_in_one_line_and_leaves_nothing(checkout, content, line):
    (checkout / GRID).unlink() if content is None else (checkout / GRID).write_text(content)
    for flags in (("--cores", "1"), ("--dry-run",)):
        assert one_line(snakemake(checkout, *flags)) == line
    assert not (checkout / "results").exists()


def test_a_bad_grid_on_the_command_line_is_named(checkout):
    (checkout / "bad.yaml").write_text("tasks: {imdb: {}}\nhard: {learning_rates: []}")
    message = one_line(snakemake(checkout, "--cores", "1", "--configfile", "bad.yaml"))
    assert re.search(r"bad\.yaml: hard\.learning_rates: \[\] is empty; expected a list", message)


def test_the_workflow_never_imports_torch(checkout):
    (checkout / "torch.py").write_text("raise SystemExit('torch was imported')")
    assert planned(checkout)["train_soft"] == 1


# ------------------------------------------------------------------------------------------------------- whole studies


def test_a_study_runs_through_and_only_what_changed_runs_again(checkout):
    # A name that a shell would take apart; what it must not do is shown by the study running through.
    study = TINY | {"results_dir": "my results; $(touch hacked) 'it'"}
    write_grid(checkout, study)
    done = snakemake(checkout, "--cores", "2")
    assert done.returncode == 0, done.stderr
    results = checkout / study["results_dir"]
    for name in ("runs.csv", "frontier.csv", "summary.csv", "plots/rotten_tomatoes-accuracy-vs-flops.svg"):
        assert (results / name).stat().st_size
    assert not (checkout / "hacked").exists()
    assert "rotten_tomatoes soft temperature~0.001 lambda~0.1 done: " in done.stdout
    assert re.search(r"of 5 runs done, \d running, about \d+ s left", done.stdout)
    assert "5 of 5 runs done" in done.stdout
    assert re.search(
        r"time .* for 13 jobs; job seconds × threads ÷ \(cores × wall seconds\) = \d+ ÷ \(2 × \d+\) = \d", done.stdout
    )

    again = snakemake(checkout, "--cores", "2")
    assert again.returncode == 0 and "Nothing to be done" in again.stderr
    assert planned(checkout) == {}

    write_grid(checkout, study | {"hard": {"learning_rates": [2e-5, 5e-5]}})
    assert planned(checkout) == {"train_hard": 1, "train_baseline": 2, **AGGREGATES}
    longer = {"soft": {**TINY["soft"], "epochs": 2}, "baselines": {**TINY["baselines"], "epochs": 2}}
    write_grid(checkout, study | longer)
    assert planned(checkout) == {"train_soft": 1, "train_hard": 1, **AGGREGATES}


def test_a_failed_run_stops_only_what_rests_on_it(checkout):
    write_grid(checkout, TINY | {"soft": {**TINY["soft"], "lambdas": [0.1, 0.2]}})
    done = snakemake(checkout, "--cores", "2", FAKE_CLI_FAILS="lambda~0.1/soft")
    assert done.returncode != 0
    assert "no space left; free some" in done.stderr  # the log of what failed is shown
    home = checkout / "results/rotten_tomatoes/seed~0/ltp/temperature~0.001"
    assert (home / "lambda~0.2/hard/lr~2e-05/metrics.json").exists()
    assert not (home / "lambda~0.1/soft/metrics.json").exists()
    assert planned(checkout) == {"train_soft": 1, "train_hard": 1, **AGGREGATES}


# ---------------------------------------------------------------------------------------------------- what is installed


def requirements(lines) -> dict[str, str]:
    """Package → version range, conda's name for PyTorch taken back."""
    found = (re.fullmatch(r"([\w.-]+)(.*)", line.strip()) for line in lines)
    return {{"pytorch": "torch"}.get(match[1], match[1]): match[2] for match in found}


def test_environment_and_project_ask_for_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = requirements(project["dependencies"] + project["optional-dependencies"]["demo"])
    for file, package in (("environment.yml", ["-e ."]), ("workflow/envs/ltp.yaml", [])):
        environment = yaml.safe_load((ROOT / file).read_text())["dependencies"]
        flat = [line for line in environment if isinstance(line, str) and line != "pip"]
        pip = next(line["pip"] for line in environment if isinstance(line, dict))
        assert pip[: len(package)] == package
        assert requirements(flat + pip[len(package) :]) == asked | {"python": project["requires-python"]}


def test_every_package_that_is_asked_for_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = requirements(line for line in lines if line and not line.startswith("#"))
    asked = requirements(sum(project["optional-dependencies"].values(), project["dependencies"]))
    assert pins["torch"] == "==2.13.0"
    assert all(re.fullmatch(r"==[\w.]+", version) for version in pins.values())
    assert {name.lower() for name in asked} <= {name.lower() for name in pins}
