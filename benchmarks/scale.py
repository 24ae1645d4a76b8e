"""How time and memory grow with the number of runs: Snakemake's plan of a grid, and the tables of its results.

    python benchmarks/scale.py plan 10 100 1000 10000
    python benchmarks/scale.py plan 100 1000 -- --profile profiles/slurm
    python benchmarks/scale.py tables 10 100 1000 10000

``plan`` is a dry run on a made-up grid, ``tables`` is `ltp tables` on made-up results (tests/helpers/fake_study.py).
Each is a process of its own, of which wall time, processor time and the largest resident memory are printed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from ltp.grid.grid import Grid

ROOT = Path(__file__).parents[1]
SEEDS = 10  # of the larger grids


def made_up_grid(runs: int) -> dict:
    """A grid of this many runs, to within one seed: a base, a top-k run, and soft and hard runs of λ after λ."""
    seeds = 1 if runs < 100 else SEEDS
    lambdas = [round(0.0001 * (number + 1), 4) for number in range((runs // seeds - 2) // 2)]
    return {
        "tasks": {"rotten_tomatoes": {}},
        "seeds": list(range(seeds)),
        "soft": {"temperatures": [0.001], "lambdas": lambdas},
        "hard": {"learning_rates": [2e-5]},
        "baselines": {"topk": {"keep_rates": [0.5]}, "manual": None},
    }


def write_results(folder: Path, grid: Grid) -> None:
    """Made-up results of every run of the grid."""
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers import fake_study

    for number, run in enumerate(grid.runs.values()):
        share = run.settings.get("lambda_", 0.5) / 0.5
        settings = {"lambda": run.settings["lambda_"], "temperature": 1e-3} if run.stage == "soft" else {}
        if run.method == "ltp" and run.stage == "hard":
            value = float(run.parent.partition("lambda~")[2].partition("/")[0])
            settings, share = {"lambda": value, "temperature": 1e-3}, value / 0.5
        if run.method == "topk":
            settings = {"token_keep_rate": 0.5}
        relative = 1.0 if run.stage == "base" else max(0.2, 1 - share)
        metrics = fake_study.metrics_of(
            run.method, run.stage, run.seed, 0.84 - 0.1 * (1 - relative) ** 2, relative, **settings
        )
        fake_study.write(folder / Path(run.directory).relative_to(grid.results_dir), metrics, number)


def measured(command: list[str], cwd: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and the largest resident memory (MB) of a command, which must succeed."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(error.decode(errors="replace")[-2000:])
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Measure and print, one line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("plan", "tables"))
    parser.add_argument("runs", type=int, nargs="+")
    given, _, more = " ".join(sys.argv[1:]).partition(" -- ")
    arguments = parser.parse_args(given.split())
    print("runs, wall s, processor s, memory MB", flush=True)
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            config = made_up_grid(runs) | {"results_dir": f"{folder}/results"}
            grid = Grid(config)
            if arguments.what == "plan":
                (folder / "grid.yaml").write_text(yaml.safe_dump(config))
                command = [sys.executable, "-m", "snakemake", "--dry-run", "--nolock", *more.split()]
                command += ["--configfile", f"{folder}/grid.yaml"]
            else:
                write_results(folder / "results", grid)
                command = [sys.executable, "-m", "ltp", "tables", f"{folder}/results"]
            wall, processor, memory = measured(command, ROOT)
        print(f"{len(grid.runs):,}, {wall:.1f}, {processor:.1f}, {memory:,.0f}", flush=True)


if __name__ == "__main__":
    main()
