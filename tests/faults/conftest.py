"""What the fault matrix shares: the warm process, a tiny encoder with text, a finished study."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.tiny_text import write_sentences

from faults import study
from faults.warm import commands


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """The socket of the warm process."""
    with commands(tmp_path_factory.mktemp("warm")) as address:
        yield address


@pytest.fixture(scope="session")
def material(tiny_encoder) -> SimpleNamespace:
    """``encoder`` and ``text``: 48 sentences to train on, 32 to judge by."""
    text = tiny_encoder.parent / "sentences"
    text.mkdir()
    write_sentences(text / "train.tsv", 48, first=0)
    write_sentences(text / "dev.tsv", 32, first=48)
    return SimpleNamespace(encoder=tiny_encoder, text=text)


@pytest.fixture(scope="session")
def undisturbed(material, warm, tmp_path_factory) -> Path:
    """A finished study that nothing disturbed. Read it, do not write into it."""
    folder = study.checkout(tmp_path_factory.mktemp("undisturbed"), study.grid_of(material.encoder, material.text))
    study.run(folder, warm, "all")
    return folder


@pytest.fixture
def finished(undisturbed, tmp_path) -> Path:
    """A copy of the finished study, to damage."""
    return shutil.copytree(undisturbed, tmp_path / "study", symlinks=True)
