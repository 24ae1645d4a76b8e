# Reads and checks the grid; what the rules share. No rules here.
import math
import os
import sys
from pathlib import Path

from ltp.common import locks
from ltp.grid import progress
from ltp.grid import resources as limits
from ltp.common.errors import LTPError
from ltp.grid.grid import Grid
from ltp.grid.reader import load_file
from ltp.grid.sizes import task_sizes

# Jobs use this interpreter and this checkout's package, whether or not a virtual environment is active.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    PYTHONPATH=os.pathsep.join(filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")])),
)


def fail_cleanly(make, given):
    """``make(given)``. Its LTPError ends Snakemake in one line; a WorkflowError would add a place in this file."""
    try:
        return make(given)
    except LTPError as error:
        files = ", ".join(map(str, workflow.overwrite_configfiles or [DEFAULT_GRID]))
        raise SystemExit(f"{files}: {str(error).removeprefix(f'{files}: ')}")


DEFAULT_GRID = "config/grid.yaml"

for grid_file in workflow.overwrite_configfiles or [DEFAULT_GRID]:
    fail_cleanly(load_file, grid_file)  # of a broken file it says more than Snakemake does

if not workflow.overwrite_configfiles:  # a grid on the command line stands in the place of this one, not on top

    configfile: DEFAULT_GRID


GRID = fail_cleanly(Grid, config)
fail_cleanly(task_sizes, GRID)  # which runs' time limits rest on: an error there would be a traceback


if not workflow.local_exec:  # the limit in profiles/default is this machine's; a cluster's own scheduler hands out GPUs
    workflow.global_resources.pop("gpu", None)


pathvars:
    results=GRID.results_dir,
    logs=f"{GRID.results_dir}/logs",
    benchmarks=f"{GRID.results_dir}/benchmarks",


# Raise a stage's number when its code changes what it makes: its runs, and all that rests on them, are made anew.
RECIPES = dict.fromkeys(("data", "base", "examples", "speed"), 1)
RECIPES |= {"convert": 2, "soft": 3, "hard": 2, "tables": 2, "plots": 2, "page": 3}

# Of the jobs that are ready, those with the longest way to go start first, so that no core idles at the end:
# a soft run has hard runs after it; a baseline trains as long as both; a hard run is the shortest.
PRIORITIES = {"data": 6, "base": 6, "convert_ltp": 5, "soft": 4, "convert_baseline": 3, "baseline": 2, "hard": 1}

NUMBER = "-?[0-9.]+(e[+-]?[0-9]+)?"
BUDGET = "budget|topk_budget"
BASELINE = f"dense\\+|topk/keep_rate~{NUMBER}|manual/threshold~{NUMBER}"


wildcard_constraints:
    task="[^/]+",
    seed="[0-9]+",
    temperature=NUMBER,
    weight=NUMBER,
    target=NUMBER,
    lr=NUMBER,
    baseline=BASELINE,
    budget=BUDGET,
    pruning=f"ltp|{BUDGET}|{BASELINE}",


def acquire_study_lock():
    """Two workflows on the same results would take each other's files away: the second is refused in one line."""
    try:
        locks.acquire_until_exit(GRID.results_dir, "wait for it or end it; two workflows cannot share their results")
        progress.start(GRID, workflow.cores if workflow.local_exec else workflow.nodes)  # jobs at a time
    except LTPError as error:
        raise SystemExit(str(error))


TRAIN = """
python -m ltp train --data={params.data:q} --output={params.run:q} {params.flags} {params.devices} > {log:q} 2>&1
python -m ltp progress {params.results:q} {params.run:q} || true
"""


def directory(pattern, wildcards):
    """The directory of a run or a conversion, which is also its key in the grid."""
    return f"{GRID.results_dir}/{pattern.format(**dict(wildcards.items()))}"


def training(stage, pattern):
    """The params of a rule that trains, read off the grid by the run's directory.

    Functions of the wildcards alone: Snakemake runs a job again when such params change, but takes no notice of those
    that also depend on input or output.
    """
    return dict(
        recipe=RECIPES[stage],
        results=lambda wildcards: GRID.results_dir,
        data=lambda wildcards: f"{GRID.results_dir}/{wildcards.task}/data",
        run=lambda wildcards: directory(pattern, wildcards),
        # With output among its arguments, so that a run is not made again when it is only called by another name.
        name=lambda wildcards, output: GRID.runs[directory(pattern, wildcards)].name,
        flags=lambda wildcards: GRID.training_flags(directory(pattern, wildcards)),
        # Likewise: a run is not made again on other devices. (Snakemake would cap a resource by its limit.)
        devices=lambda wildcards, output: GRID.device_flags(directory(pattern, wildcards)),
    )


def training_resources(pattern):
    """What a training asks for: GPUs, and limits that a cluster holds a job to, wider at each attempt."""
    return dict(
        gpu=GRID.config.gpus,
        mem_mb=lambda wildcards, attempt: limits.memory_mb(GRID, GRID.runs[directory(pattern, wildcards)], attempt),
        runtime=lambda wildcards, attempt: limits.minutes(GRID, GRID.runs[directory(pattern, wildcards)], attempt),
    )


def teacher(wildcards):
    """The dense run that the soft and hard stages learn from, where the grid asks for distillation."""
    return GRID.teacher_outputs(wildcards.task, int(wildcards.seed))


def run_outputs(*kinds):
    """The metrics of all runs of these kinds, each a method and a stage; without kinds, of all runs."""
    return [run.output for run in GRID.runs.values() if not kinds or (run.method, run.stage) in kinds]


def figures(kind):
    """One kind of figure for every task, as PNG and SVG."""
    return [f"<results>/plots/{task}-{kind}.{suffix}" for task in GRID.config.tasks for suffix in ("png", "svg")]
