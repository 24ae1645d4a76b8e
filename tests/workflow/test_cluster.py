"""The cluster profiles: what they name exists, dry runs plan the study, and each job asks for what it needs."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import test_workflow
import yaml

from ltp.grid import resources
from ltp.grid.grid import Grid

ROOT = Path(__file__).parents[2]
checkout = test_workflow.checkout  # a fixture
PROFILES = {"slurm": "snakemake_executor_plugin_slurm", "kubernetes": "snakemake_executor_plugin_cluster_generic"}
RULES = {
    rule: body
    for path in (ROOT / "workflow/rules").glob("*.smk")
    for rule, body in re.findall(r"^rule (\w+):\n((?: .*\n|\n)+)", path.read_text(), re.MULTILINE)
}


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / f"profiles/{name}/profile.yaml").read_text())


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_name_rules_that_exist(name):
    settings = profile(name)
    groups = settings.get("groups", {})
    assert set(groups) | set(settings.get("set-resources", {})) <= set(RULES)
    assert set(settings.get("group-components", {})) <= set(groups.values())


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_says_how_much_memory_and_time_it_takes(rule):
    own = "mem_mb=" in RULES[rule] and "runtime=" in RULES[rule]
    assert own or "**training_resources(" in RULES[rule]
    assert ("**training_resources(" in RULES[rule]) == (rule.startswith("train_") or rule == "set_budget")


@pytest.mark.parametrize("name", PROFILES)
def test_a_dry_run_with_the_profile_plans_the_study(name, tmp_path):
    if importlib.util.find_spec(PROFILES[name]) is None:
        pytest.skip(f"needs the executor plugin: pip install -e '.[{name}]'")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--profile", f"profiles/{name}",
         "--configfile", "config/smoke.yaml", "--config", f"results_dir={tmp_path}/none"],
        cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plan = done.stdout + done.stderr
    assert re.search(r"^total +20$", plan, re.MULTILINE)
    for group in ("conversions_rotten_tomatoes_0", "figures"):  # one job for five conversions, one for what is drawn
        assert len(re.findall(rf"Group job {group}\b", plan)) == 1
    # The group of a job that reads every run makes Snakemake's work grow with the square of their number.
    assert re.search(r"^Job \d+: tables$", plan, re.MULTILINE)


def grid(**changes) -> Grid:
    return Grid({"tasks": {"rotten_tomatoes": {}}, **changes})


def first(study: Grid):
    return next(iter(study.runs.values()))


class TestLimits:
    def test_the_packaged_encoder_has_the_size_it_has(self):
        shape = resources.encoder_shape(grid())
        assert shape.matrix_weights == 10_616_832
        assert shape.parameters == pytest.approx(22.7e6, rel=0.01)

    def test_known_and_unknown_models_of_the_hub(self):
        def shape(name):
            return resources.encoder_shape(grid(model={"source": "hub", "name": name}))

        assert shape("roberta-base").parameters == pytest.approx(125e6, rel=0.02)
        assert shape("FacebookAI/roberta-large").parameters == pytest.approx(355e6, rel=0.02)
        assert shape("someone/else") == shape("roberta-base")

    def test_a_local_model_is_looked_at(self, tiny_encoder):
        study = grid(model={"source": "local", "path": str(tiny_encoder)})
        assert resources.encoder_shape(study).layers == 2 and resources.encoder_shape(study).hidden == 16

    def test_memory_covers_what_was_measured(self):
        """MB by the benchmark files of the default study and the smoke study, and by benchmarks/full_size.py."""
        default = grid(data={"max_length": 64}, training={"batch_size": 32})
        smoke = grid(data={"max_length": 24}, training={"batch_size": 16})
        full = grid(
            data={"max_length": 128}, training={"batch_size": 8}, model={"source": "hub", "name": "roberta-base"}
        )
        for study, measured in ((default, 1430), (smoke, 890), (full, 2700)):
            assert measured < resources.memory_mb(study, first(study)) < 3 * measured

    def test_memory_grows_with_batch_and_attempt_but_not_with_accumulation(self):
        large = grid(training={"batch_size": 256})
        parts = grid(training={"batch_size": 256, "accumulation_steps": 8})
        small = grid(training={"batch_size": 32})
        memory = [resources.memory_mb(study, first(study)) for study in (small, parts, large)]
        assert memory[0] == memory[1] < memory[2]
        assert resources.memory_mb(small, first(small), attempt=2) == pytest.approx(2 * memory[0], abs=1)

    def test_time_grows_with_the_tokens_and_covers_what_was_measured(self):
        short, long = (grid(base={"epochs": epochs}) for epochs in (1, 100))
        assert resources.minutes(short, first(short)) > 4  # 243 s in the default study, with other work beside it
        start = resources.START_MINUTES
        grown = resources.minutes(long, first(long)) - start
        assert grown == pytest.approx(100 * (resources.minutes(short, first(short)) - start), rel=0.2)
        assert resources.minutes(long, first(long), attempt=3) == 3 * resources.minutes(long, first(long))

    def test_a_run_that_only_answers_has_the_time_for_it(self):
        study = Grid({"tasks": {"qqp": {}}, "model": {"source": "hub", "name": "roberta-base"},
                      "soft": {"flops_targets": [0.5]}})  # fmt: skip
        hard = next(run for run in study.runs.values() if (run.method, run.stage) == ("budget", "hard"))
        # 20,215 pairs of 31 pieces twice, and 85 million weights: 59 minutes at what a core is counted for.
        assert resources.minutes(study, hard) > 2 * 59

    def test_data_of_unknown_size_get_a_day(self):
        study = Grid(
            {"tasks": {"mine": {"path": "someone/mine", "text_columns": ["text"], "label_column": "label",
                                "kind": "classification"}}}
        )  # fmt: skip
        assert resources.minutes(study, first(study)) == 24 * 60


KUBECTL = """#!/usr/bin/env python3
# Stands in for kubectl: a Job is a process here; what it asked for is written down.
import json, os, subprocess, sys
from pathlib import Path

command, folder = sys.argv[1], Path(os.environ["JOBS"])
if command == "create":
    job = json.load(sys.stdin)
    number = len(list(folder.glob("*.json")))
    (folder / f"{number}.json").write_text(json.dumps(job))
    container = job["spec"]["template"]["spec"]["containers"][0]
    done = subprocess.run(container["command"], cwd=container["workingDir"], capture_output=True)
    (folder / f"{number}.status").write_text("/1" if done.returncode else "1/")
    print(f"job.batch/ltp-{number}")
elif command == "get":
    print((folder / f"{sys.argv[2].removeprefix('job.batch/ltp-')}.status").read_text())
"""


def test_the_scripts_for_kubernetes_run_a_study(checkout, tmp_path):
    """With made-up trainings, and a stand-in for kubectl that runs each Job where it is."""
    pytest.importorskip(PROFILES["kubernetes"], reason="needs the executor plugin: pip install -e '.[kubernetes]'")
    jobs, programs = tmp_path / "jobs", tmp_path / "programs"
    jobs.mkdir(), programs.mkdir()
    (programs / "kubectl").write_text(KUBECTL)
    (programs / "kubectl").chmod(0o755)
    test_workflow.write_grid(checkout, {**test_workflow.TINY, "gpus": 1})
    done = test_workflow.snakemake(
        checkout, "--profile", "profiles/kubernetes", "--seconds-between-status-checks=1", "--latency-wait=1",
        JOBS=str(jobs), PATH=f"{programs}:{os.environ['PATH']}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (checkout / "results/runs.csv").exists()
    asked = [json.loads(path.read_text())["spec"] for path in sorted(jobs.iterdir()) if path.suffix == ".json"]
    gpus = [spec["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for spec in asked]
    assert sorted(map(str, gpus)) == ["1"] * 5 + ["None"] * 4  # data, conversions, tables, figures
    assert all(spec["activeDeadlineSeconds"] >= 600 and spec["backoffLimit"] == 0 for spec in asked)
