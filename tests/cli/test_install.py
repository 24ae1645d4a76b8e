"""The wheel in a new environment, without a checkout: the command, a study, a pruned model and its export."""

import os
import re
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

import ltp
from ltp.cli import COMMANDS
from ltp.cli.init import PARTS

ROOT = Path(__file__).parents[2]
MODEL = """
import ltp, sys
from transformers import AutoModelForSequenceClassification
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1])
print(ltp.__file__, type(model).__name__, model.config.prune_mode)

from ltp.cli.main import main
sys.exit(main(["export", sys.argv[1], "--output=plain", "--plain"]))
"""


def copy_source(folder: Path) -> Path:
    """A copy of what the build reads, so that it writes nothing into the checkout and finds no earlier build there."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.is_dir() and path.name in ("ltp", *PARTS):
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder)
    return folder


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of ``source`` into ``folder``, with the setuptools of this environment."""
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(sdist)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def new_environment(folder: Path, *package: str):
    """Runs programs of a new environment that holds the package; its dependencies are those of this environment."""
    venv.create(folder, symlinks=True)
    # Lines of a .pth file are paths; .pth files in these, such as that of an editable ltp, are not read.
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", *package]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), *install]
    subprocess.run(pip, check=True)

    def run(*command: str, cwd: Path) -> str:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(folder / "bin" / command[0]), *command[1:]], cwd=cwd, capture_output=True, text=True, env=variables
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return copy_source(tmp_path_factory.mktemp("source") / "checkout")


@pytest.fixture(scope="module")
def environment(source, tmp_path_factory):
    """Runs programs of an environment that holds the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    return new_environment(folder / "environment", str(build_wheel(source, folder)))


@pytest.fixture
def study(environment, tmp_path) -> Path:
    """A folder that ``ltp init`` of the wheel has made."""
    environment("ltp", "init", "study", cwd=tmp_path)
    return tmp_path / "study"


def test_the_command(environment, tmp_path):
    assert environment("ltp", "--version", cwd=tmp_path) == f"ltp {ltp.__version__}\n"
    shown = environment("ltp", "--help", cwd=tmp_path)
    assert all(name in shown for name in COMMANDS)


def test_a_new_study_is_the_checkouts_and_plans(environment, study):
    assert sorted(path.name for path in study.iterdir()) == sorted(PARTS)
    for file in study.rglob("*"):
        if file.is_file():
            original = ROOT / file.relative_to(study)
            assert file.read_bytes() == original.read_bytes()
            assert os.access(file, os.X_OK) == os.access(original, os.X_OK)
    originals = [path for part in PARTS for path in (ROOT / part, *(ROOT / part).rglob("*")) if path.is_file()]
    wanted = {path.relative_to(ROOT) for path in originals if "__pycache__" not in path.parts}
    assert {path.relative_to(study) for path in study.rglob("*") if path.is_file()} == wanted
    assert "rotten_tomatoes" in environment("ltp", "plan", cwd=study)
    jobs = environment("python", "-m", "snakemake", "--dry-run", "--quiet", "rules", cwd=study)
    assert re.search(r"^train_hard +6$", jobs, re.MULTILINE)


def test_the_studys_jobs_use_the_installed_package(environment, study, tiny_encoder, tiny_data):
    text = {"source": "local", "path": str(tiny_encoder.parent / "text"), "data": {"max_length": 24}}
    grid = {"tasks": {"sst2": text}, "model": {"source": "local", "path": str(tiny_encoder)}}
    (study / "config/grid.yaml").write_text(yaml.safe_dump(grid))
    environment("python", "-m", "snakemake", "--cores", "1", "results/sst2/data/task.json", cwd=study)
    assert (study / "results/sst2/data/task.json").read_bytes() == (tiny_data / "task.json").read_bytes()


def test_a_pruned_model_loads_and_is_exported(environment, tiny_study, tmp_path):
    loaded, exported = environment("python", "-c", MODEL, str(tiny_study.converted), cwd=tmp_path).splitlines()
    file, *kinds = loaded.split()
    assert Path(file).parts[-3:] == ("site-packages", "ltp", "__init__.py")
    assert kinds == ["LTPForSequenceClassification", "absolute_threshold"]
    assert exported == "plain: a plain bert checkpoint, without pruning"
    assert yaml.safe_load((tmp_path / "plain/config.json").read_text())["model_type"] == "bert"


def test_an_editable_install_as_environment_yml_asks_for(source, tmp_path):
    """Conda itself is not tried: what pip does with the package's line, dependencies being there already."""
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["dependencies"][-1]["pip"][0] == "-e ."
    run = new_environment(tmp_path / "environment", "-e", str(source))
    assert run("ltp", "--version", cwd=tmp_path) == f"ltp {ltp.__version__}\n"
    run("ltp", "init", "study", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == sorted(PARTS)
    assert not (source / "ltp/_study").exists()
