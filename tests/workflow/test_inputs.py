"""Local text and a local encoder are inputs of the workflow: what rests on them is made again when they change."""

from __future__ import annotations

import shutil

import pytest
from helpers.grids import SHORT
from helpers.tiny_text import write_sentences
from test_workflow import AGGREGATES, TINY, checkout, planned, snakemake, write_grid  # noqa: F401 (a fixture)

from ltp.grid.grid import Grid

TRAININGS = {"train_base": 1, "convert": 3, "train_soft": 1, "train_hard": 1, "train_baseline": 2, **AGGREGATES}


@pytest.fixture
def sources(tiny_encoder, tmp_path):
    """An encoder and text of one's own: their folders."""
    encoder, text = shutil.copytree(tiny_encoder, tmp_path / "my encoder"), tmp_path / "text"
    text.mkdir()
    write_sentences(text / "train.tsv", 8, first=0)
    write_sentences(text / "dev.tsv", 8, first=8)
    (text / "README.md").write_text("mine")
    return encoder, text


def local(sources) -> dict:
    encoder, text = map(str, sources)
    task = {"source": "local", "path": text, "text_columns": ["sentence"]}
    return TINY | {"model": {"source": "local", "path": encoder}, "tasks": {"mine": task}}


def names(paths) -> set[str]:
    return {path.rpartition("/")[2] for path in paths}


def test_the_inputs_are_the_files_that_are_read(sources):
    grid = Grid(local(sources))
    tokenizer = {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert names(grid.encoder_inputs()) == tokenizer | {"model.safetensors"}
    assert names(grid.data_inputs("mine")) == tokenizer | {"train.tsv", "dev.tsv"}
    one = local(sources)
    one["tasks"]["mine"]["path"] += "/train.tsv"
    assert names(Grid(one).data_inputs("mine")) == tokenizer | {"train.tsv"}
    (sources[1] / "train.tsv").unlink()  # `ltp data` will say so
    assert names(grid.data_inputs("mine")) == tokenizer


def test_packaged_and_hub_sources_have_no_local_inputs():
    hub = {"model": {"source": "hub", "name": "roberta-base"}, "tasks": {"sst2": {}}}
    for config, task in ((SHORT, "rotten_tomatoes"), (hub, "sst2")):
        grid = Grid(config)
        assert grid.encoder_inputs() == [] == grid.data_inputs(task)


def test_a_changed_source_is_noticed(checkout, sources):  # noqa: F811
    encoder, text = sources
    write_grid(checkout, local(sources))
    done = snakemake(checkout, "--cores", "2")
    assert done.returncode == 0, done.stderr
    (text / "README.md").write_text("not read")
    assert planned(checkout) == {}
    weights = (encoder / "model.safetensors").read_bytes()
    (encoder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert planned(checkout) == TRAININGS  # the data have nothing of the weights
    write_sentences(text / "train.tsv", 9, first=0)
    assert planned(checkout) == {"prepare_data": 1, **TRAININGS}
