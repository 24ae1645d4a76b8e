"""Damaged results: each is named by `ltp verify`, refused by what rests on it, and shown in no table."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil

import pytest

from faults.study import RUNS, record
from ltp.cli.main import main
from ltp.grid.grid import load_grid


def cut(path):
    """The second half is gone, as after a power cut."""
    os.truncate(path, path.stat().st_size // 2)


def emptied(path):
    """Nothing is left but the name."""
    os.truncate(path, 0)


def flipped(path):
    """One bit in the middle is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def zeroed(path):
    """As long as before, but a block of it is zeros, as some file systems leave it."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(len(content[middle : middle + 64]))
    path.write_bytes(content)


def binary(path):
    """Something else altogether."""
    path.write_bytes(bytes(range(256)) * 4)


def gone(path):
    """Removed by hand."""
    path.unlink()


def listed(path):
    """Sound JSON, but not of this kind."""
    path.write_text("[1, 2]\n")


def changed(**values):
    """Sound JSON in which a person has changed some values by hand."""

    def edited(path):
        content = json.loads(path.read_text())
        for name, value in values.items():
            *above, last = name.split("__")
            place = content
            for key in above:
                place = place[key]
            assert place[last] != value
            place[last] = value
        path.write_text(json.dumps(content))

    return edited


better = changed(metrics__validation__accuracy=0.99)
newer = changed(schema=2)
METRICS = ("metrics.json", [cut, emptied, flipped, binary, listed, better, newer])
WEIGHTS = ("model.safetensors", [cut, flipped, zeroed])
CONFIG = ("config.json", [cut, flipped, gone])
ARROW = "train/data-00000-of-00001.arrow"
ROWS = [
    *[("base", name, how) for name, hows in (METRICS, WEIGHTS, CONFIG) for how in hows],
    ("base", "config.json", changed(num_hidden_layers=1)),
    ("base", "predictions.json", flipped),
    ("base", "train_logits.safetensors", flipped),
    ("base", "train_logits.safetensors", gone),
    *[("convert", "conversion.json", how) for how in (cut, emptied, flipped, listed)],
    ("convert", "conversion.json", changed(pruning__final_token_threshold=0.5)),
    *[("convert", name, how) for name, hows in (WEIGHTS, CONFIG) for how in hows],
    ("convert", "config.json", changed(final_token_threshold=0.5)),
    ("convert", "tokenizer.json", cut),
    ("soft", "metrics.json", cut),
    ("soft", "metrics.json", changed(layers__threshold=[0.0, 0.0])),
    ("soft", "model.safetensors", flipped),
    ("hard", "metrics.json", cut),
    ("hard", "metrics.json", changed(flops__test__relative=0.1)),
    ("hard", "metrics.json", changed(timing__total_seconds=1.0)),
    ("hard", "predictions.json", cut),
    ("hard", "predictions.json", flipped),
    ("hard", "predictions.json", gone),
    ("hard", "model.safetensors", zeroed),
    ("hard", "config.json", flipped),
    *[("data", "task.json", how) for how in (cut, emptied, flipped, listed)],
    ("data", "task.json", changed(num_labels=3)),
    ("data", "task.json", changed(schema=2)),
    *[("data", ARROW, how) for how in (cut, flipped, zeroed, gone)],
    ("data", "test/data-00000-of-00001.arrow", flipped),
    ("data", "tokenizer/tokenizer.json", flipped),
]
# What is called next on a stage's results: a training of the next stage, a conversion, an evaluation.
NEXT = {"data": "base", "base": "convert", "convert": "soft", "soft": "hard"}
NAMES = [f"{stage}-{name.split('/')[-1]}-{how.__name__}" for stage, name, how in ROWS]


def command(stage: str) -> list[str]:
    """The workflow's command line for a stage; called in the copy of the project."""
    grid, directory = load_grid("config/grid.yaml"), str(RUNS[stage])
    if stage == "data":
        return ["data", f"--output={directory}", *shlex.split(grid.data_flags("sst2"))]
    if stage == "convert":
        return ["convert", f"--output={directory}", *shlex.split(grid.conversion_flags(directory))]
    flags = shlex.split(f"{grid.training_flags(directory)} {grid.device_flags(directory)}")  # as the rules join them
    return ["train", f"--data={RUNS['data']}", f"--output={directory}", *flags]


def refused(capfd, *arguments: str) -> str:
    """The one line with which a command refuses."""
    capfd.readouterr()
    assert main(list(arguments)) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith(f"ltp {arguments[0]}: ")
    return line


@pytest.mark.parametrize(("stage", "name", "damage"), ROWS, ids=NAMES)
def test_damage_is_named_refused_and_never_averaged_in(finished, monkeypatch, capfd, stage, name, damage):
    monkeypatch.chdir(finished)
    path = RUNS[stage] / name
    damage(path)
    capfd.readouterr()
    assert main(["verify", "results"]) == 1
    out = capfd.readouterr().out
    assert any(line.startswith("CORRUPT") and str(RUNS[stage]) in line for line in out.splitlines())

    if stage in NEXT:
        following = "soft" if name == "train_logits.safetensors" else NEXT[stage]  # the first that reads the file
        shutil.rmtree(RUNS[following])
        line = refused(capfd, *command(following))
        assert str(RUNS[stage]) in line
        assert not record(following).exists()
    if stage in ("base", "soft", "hard"):
        assert main(["tables", "results"]) == 0
        with open("results/runs.csv", newline="") as file:
            rows = {row["run"]: row for row in csv.DictReader(file)}
        row = rows[str(RUNS[stage].relative_to("results"))]
        seen = name in ("metrics.json", "config.json") or (stage != "soft" and row["status"] != "complete")
        if seen:
            assert row["status"] in ("damaged", "missing") and not row["validation_score"]
        else:  # a row among the runs, but the summary, which hashes all it rests on, has nothing of it
            with open("results/summary.csv", newline="") as file:
                assert not any(str(RUNS[stage]) in line for line in file)
    if stage == "hard" and name != "metrics.json":
        line = refused(capfd, "evaluate", str(RUNS["hard"]), f"--data={RUNS['data']}")
        assert str(path) in line


def renamed(path):
    """A table of another version: its columns have other names."""
    path.write_text(path.read_text().replace("task", "job", 1))


TABLES = {
    "runs.csv": ["plots", "results"], "summary.csv": ["report", "results"], "matched.csv": ["report", "results"],
    "lengths.csv": ["plots", "results"],
}  # fmt: skip


@pytest.mark.parametrize("damage", [cut, emptied, flipped, binary, renamed, gone])
@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_refused_by_name_and_made_again(finished, monkeypatch, capfd, name, damage):
    monkeypatch.chdir(finished)
    before = (finished / "results" / name).read_bytes()
    damage(finished / "results" / name)
    assert f"results/{name}: " in refused(capfd, *TABLES[name])
    assert main(["tables", "results"]) == 0 and (finished / "results" / name).read_bytes() == before
    assert main(TABLES[name]) == 0


@pytest.mark.parametrize("damage", [cut, emptied, binary, listed, gone])
@pytest.mark.parametrize("name", [".progress.json", "sst2/examples.json"])
def test_a_damaged_side_file_is_refused_by_name(finished, monkeypatch, capfd, name, damage):
    monkeypatch.chdir(finished)
    damage(finished / "results" / name)
    if name == ".progress.json":
        assert "results/.progress.json: " in refused(capfd, "progress", "results")
    elif damage is gone:  # the page says that there are none
        assert main(["report", "results"]) == 0
    else:
        assert "examples.json: " in refused(capfd, "report", "results")


@pytest.mark.parametrize("damage", [cut, emptied, binary, listed])
@pytest.mark.parametrize("stage", ["soft", "hard"])
def test_progress_goes_on_beside_a_damaged_run(finished, monkeypatch, capfd, stage, damage):
    monkeypatch.chdir(finished)
    damage(record(stage))
    assert main(["progress", "results", str(RUNS["base"])]) == 0
    assert "of 3 runs done" in capfd.readouterr().out


def test_a_run_made_from_an_earlier_parent_is_named(finished, monkeypatch, capfd):
    """The parent is sound, but not the one that this run started from."""
    monkeypatch.chdir(finished)
    content = json.loads(record("convert").read_text())
    grid = load_grid("config/grid.yaml")
    flags = shlex.split(grid.conversion_flags(str(RUNS["convert"])))
    flags = [flag for flag in flags if not flag.startswith("--final-token")] + ["--final-token-threshold=0.05"]
    assert main(["convert", f"--output={RUNS['convert']}", *flags]) == 0
    assert json.loads(record("convert").read_text())["fingerprint"] != content["fingerprint"]
    assert main(["verify", "results"]) == 1
    assert f"{RUNS['soft']}: was made from an earlier {RUNS['convert']}" in capfd.readouterr().out
