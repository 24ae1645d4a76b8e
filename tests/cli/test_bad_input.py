"""Bad input through the real command line: one clear line each, before any training, and nothing is left behind."""

import json

import pytest
from helpers.original_checkpoint import CASE, THRESHOLD, lacks, original, rewrite

from ltp.cli.main import main

REVIEWS = ["--task=reviews", "--source=local", "--text-columns", "text"]


@pytest.fixture
def text(tmp_path):
    """Two hundred short reviews, labelled 0 and 1; the last one of them 2."""
    rows = [f"film number {row} of a long week\t{row % 2}" for row in range(200)] + ["an odd one\t2"]
    path = tmp_path / "reviews.tsv"
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--labels", "0", "1"], "reviews.tsv, row 201: label is '2', expected one of 0, 1"),
        (["--text-columns", "text", "other"], "no column 'other'"),
        (
            ["--task=mrpc", "--text-columns", "text"],
            "text_columns: ['text'] of task mrpc; expected two columns, it is a",
        ),
        (["--task=sst2", "--text-columns", "text", "b"], "of task sst2; expected one column, it is a task of single"),
        (["--max-length=33"], "max_length: 33 is more than the 32 tokens that"),
        (["--metrics", "bleu"], "metrics: 'bleu' of task reviews is unknown; expected some of accuracy"),
        (["--metrics", "pearson"], "metrics: pearson does not fit task reviews, a classification"),
        (["--kind=regression", "--metrics", "f1"], "metrics: f1 does not fit task reviews, a regression"),
        (["--source=hub", "--path=nobody/nothing"], "hub: data set nobody/nothing: the Hub cannot be reached"),
        (["--model=nobody/nothing", "--model-source=hub"], "hub: model nobody/nothing: the Hub cannot be reached"),
        (["--path=none.csv"], "none.csv"),
        (["--train-examples=0"], "train_examples: "),
    ],
)
def test_text_or_a_task_that_does_not_fit(tiny_encoder, text, tmp_path, capsys, flags, message):
    command = ["data", f"--output={tmp_path}/data", f"--path={text}", f"--model={tiny_encoder}", *REVIEWS, *flags]
    if not any(flag.startswith("--max-length") for flag in flags):
        command.append("--max-length=24")
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ltp data: ") and message in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("tasks: {imdb: {}}\nseeds: [0, 1, 0]", "seeds[2]: 0 is there twice, see seeds[0]; remove one"),
        ("tasks: {imdb: {metrics: [bleu]}}", "tasks.imdb.metrics: 'bleu' of task imdb is unknown"),
        ("tasks: {imdb: {text_columns: [a, b]}}", "tasks.imdb.text_columns: ['a', 'b'] of task imdb; expected one"),
        ("tasks: {imdb: {}}\nmodel: {source: local, path: none}", "model.path: none is not there; expected a"),
    ],
)
def test_a_grid_that_does_not_fit(tmp_path, capsys, grid, message):
    (tmp_path / "grid.yaml").write_text(grid)
    assert main(["plan", f"--configfile={tmp_path}/grid.yaml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ltp plan: ") and message in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gpus=1"], "gpus: 1 asked for, none can be used here"),
        (["--precision=fp16"], "precision: fp16 needs a GPU"),
        (["--stage=hard"], "neither conversion.json nor metrics.json is there; expected a finished conversion or run"),
        (["--data=none"], "none/task.json: not there; make the data with `ltp data`"),
        (["--epochs=-1"], "epochs: -1.0 is too small; expected at least 0.0"),
    ],
)
def test_a_training_that_cannot_be(tiny_study, tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    where = [f"--checkpoint={tiny_study.encoder}", f"--data={tiny_study.data}", f"--output={tmp_path}/run"]
    assert main(["train", "--stage=base", "--method=dense", *where, *flags]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ltp train: ") and message in line
    assert not (tmp_path / "run").exists()


def test_a_model_with_other_labels_than_the_data(tiny_study, tmp_path, capsys):
    """Three classes, where the data have two: found when the model is loaded."""
    from transformers import AutoModelForSequenceClassification

    three = tmp_path / "three"
    AutoModelForSequenceClassification.from_pretrained(tiny_study.encoder, num_labels=3).save_pretrained(three)
    capsys.readouterr()
    assert main(["evaluate", str(three), f"--data={tiny_study.data}"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"ltp evaluate: {three}: has 3 labels, the data have 2"


@pytest.mark.parametrize("part", ["classifier.dense.weight", THRESHOLD.format(0), "config.json", "model.safetensors"])
def test_a_checkpoint_of_the_original_with_missing_parts(tmp_path, capsys, part):
    theirs = original(tmp_path / "theirs", CASE)
    if (theirs / part).is_file():
        (theirs / part).unlink()
    else:
        rewrite(theirs, lacks(part))
    assert main(["convert", f"--checkpoint={theirs}", f"--output={tmp_path}/ours"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ltp convert: {theirs}") and part in line
    assert not (tmp_path / "ours/conversion.json").exists()


def test_a_checkpoint_of_another_architecture(tmp_path, capsys):
    folder = tmp_path / "gpt2"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert main(["convert", f"--checkpoint={folder}", f"--output={tmp_path}/ours"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "model_type is 'gpt2'; supported: bert, camembert, deberta-v2" in line
