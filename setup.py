"""Puts the study's files into the wheel, where `ltp init` finds them; all else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PARTS = ("config", "profiles", "workflow", "Snakefile")  # as in ltp/cli/init.py; MANIFEST.in takes them into the sdist


class BuildWithStudy(build_py):
    """Also copies PARTS from the top of the checkout, where Snakemake wants them, to ltp/_study."""

    def run(self):
        super().run()
        if self.editable_mode:  # the package lies in the checkout then
            return
        study = Path(self.build_lib) / "ltp" / "_study"
        shutil.rmtree(study, ignore_errors=True)  # of an earlier build
        study.mkdir(parents=True)
        for part in PARTS:
            if Path(part).is_dir():
                shutil.copytree(part, study / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(part, study)


setup(cmdclass={"build_py": BuildWithStudy})
