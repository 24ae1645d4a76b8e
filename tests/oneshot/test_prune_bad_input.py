"""What `ltp prune` cannot use is one line, before any work, and leaves nothing behind; what is interrupted goes on."""

from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from helpers.one_call import save_classifier, some_pairs, some_texts
from helpers.tiny_text import save_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

import ltp
from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.oneshot import speed
from ltp.oneshot.original import load_original
from ltp.oneshot.state import fingerprint, move, work_folder
from ltp.oneshot.texts import make_texts, read_table
from ltp.settings.oneshot import PruneSettings


def write(path, columns, rows, encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


def refused(capsys, tmp_path, *command):
    """The line that a command ends with; it leaves no output."""
    assert main(["prune", *map(str, command), f"--output={tmp_path}/out"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ltp prune: ")
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.partial").exists()
    return line


TEXTS = [[text] for text in some_texts(260)]
LONG = [(f"{'plot ' * 40}q{number // 5}", text) for number, (_, text) in enumerate(some_pairs(50, 5))]
FILES = {
    "few": (["text"], TEXTS[:50], "texts.csv: 50 different texts; expected at least 200"),
    "repeats": (["text"], TEXTS[:50] * 6, "texts.csv: 50 different texts; expected at least 200"),
    "short": (["text"], [[f"n{number}"] for number in range(300)], "3.0 tokens a text; expected at least 8"),
    "empty column": (["text", "id"], [["", "1"]] * 300, "texts.csv, row 1: text is empty"),
    "no such column": (["words", "id"], [*([text, "1"] for (text,) in TEXTS)], "no column 'text', it has words, id"),
    "no rows": (["text"], [], "texts.csv: no rows"),
    "semicolons": (["id;text;label"], TEXTS, "has one column, 'id;text;label', being separated by ';'"),
    "another language": (
        ["text"],
        [[f"слово {'ещё ' * 9}{number}"] for number in range(300)],
        "% of the tokens are unknown",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_text_that_cannot_be_used(classifier, tmp_path, capsys, name):
    columns, rows, message = FILES[name]
    path = write(tmp_path / "texts.csv", columns, rows)
    assert message in refused(capsys, tmp_path, classifier, f"--text={path}")


@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_a_file_of_another_encoding(classifier, tmp_path, capsys, suffix):
    path = write(tmp_path / f"texts{suffix}", ["text"], [*TEXTS, ["un café fermé"]], "latin-1")
    assert "not UTF-8 in line " in refused(capsys, tmp_path, classifier, f"--text={path}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--flops=0.05"], "flops: 0.05 is not possible: the least on this text is 0."),
        (["--flops=1.5"], "flops: 1.5 is not between 0 and 1"),
        (["--flops", "0.5", "0.5"], "flops: 0.5 0.5 names a share twice"),
        (["--minutes=0"], "minutes: 0.0 is too small; expected at least 0.1"),
        (["--max-length=64"], "max_length: 64 is more than the 32 tokens that small takes"),
        (["--protect=first"], "protect: first needs pairs; expected two text_columns"),
        (["--label-column=none"], "no column 'none', it has text, topic"),
    ],
)
def test_a_wish_that_cannot_be_met(classifier, text_file, tmp_path, capsys, flags, message):
    assert message in refused(capsys, tmp_path, classifier, f"--text={text_file}", *flags)


def test_the_least_budget_that_is_named_is_accepted(classifier, tmp_path, capsys):
    path = write(tmp_path / "texts.csv", ["text"], TEXTS)
    line = refused(capsys, tmp_path, classifier, f"--text={path}", "--flops=0.05")
    least = float(line.split("the least on this text is ")[1].split(";")[0])
    ltp.prune(str(classifier), None, [text for (text,) in TEXTS], flops=least + 0.02, minutes=0.1)


def test_labels_that_the_model_does_not_have(classifier, tmp_path, capsys):
    path = write(tmp_path / "texts.csv", ["text", "topic"], [[text, "sports"] for (text,) in TEXTS])
    line = refused(capsys, tmp_path, classifier, f"--text={path}", "--label=topic")
    assert "row 1: topic is 'sports', expected one of bad, good" in line


def test_labels_that_are_classes_for_a_model_of_one_number(text_file, tmp_path, capsys):
    folder = save_classifier(tmp_path / "number", labels=1)
    line = refused(capsys, tmp_path, folder, f"--text={text_file}", "--label-column=topic")
    assert "topic is 'bad', but number gives one number, no class" in line


@pytest.mark.parametrize("architecture", ["BertModel", "BertForTokenClassification"])
def test_a_model_without_a_classifier(text_file, tmp_path, capsys, architecture):
    folder = save_classifier(tmp_path / "encoder", architecture=architecture)
    assert f"architecture {architecture} has no classifier" in refused(capsys, tmp_path, folder, f"--text={text_file}")


def test_a_model_whose_weights_have_no_classifier(text_file, tmp_path, capsys):
    folder = save_classifier(tmp_path / "encoder", architecture="BertModel")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    assert "no classifier in model.safetensors" in refused(capsys, tmp_path, folder, f"--text={text_file}")


@pytest.mark.parametrize("name", ["bert.pooler.dense.weight", "bert.encoder.layer.1.output.dense.bias"])
def test_a_model_that_lacks_some_weights(text_file, tmp_path, capsys, name):
    """The library would draw them at random, in another way at each call."""
    folder = save_classifier(tmp_path / "partly")
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert f"partly: has no weights {name}; expected a" in refused(capsys, tmp_path, folder, f"--text={text_file}")


def test_a_model_whose_config_is_another_s(text_file, tmp_path, capsys):
    folder = save_classifier(tmp_path / "mixed")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {index: str(index) for index in range(3)}
    (folder / "config.json").write_text(json.dumps(config))
    line = refused(capsys, tmp_path, folder, f"--text={text_file}")
    assert "classifier.bias has the shape [2], config.json asks for [3]" in line


def test_classes_that_are_not_numbered_from_0(text_file, tmp_path, capsys):
    folder = save_classifier(tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text()) | {"id2label": {1: "bad", 2: "good"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert "has no name for class 0 in id2label" in refused(capsys, tmp_path, folder, f"--text={text_file}")


def test_a_saved_data_set_without_a_training_split(classifier, tmp_path, capsys):
    """One split is the text, whatever its name; of several one must be named train."""
    part = datasets.Dataset.from_dict({"text": [text for (text,) in TEXTS]})
    datasets.DatasetDict({"unlabelled": part}).save_to_disk(tmp_path / "one")
    assert len(read_table(tmp_path / "one", PruneSettings()).frame) == len(TEXTS)
    datasets.DatasetDict({"dev": part, "test": part}).save_to_disk(tmp_path / "two")
    line = refused(capsys, tmp_path, classifier, f"--text={tmp_path}/two")
    assert "two has the splits test, validation; expected train among them, or one" in line


def test_a_file_that_is_not_there(classifier, tmp_path, capsys):
    line = refused(capsys, tmp_path, classifier, f"--text={tmp_path}/none.csv")
    assert f"text: {tmp_path}/none.csv is not there; expected a .csv" in line
    (tmp_path / "texts.xlsx").write_bytes(b"PK")
    assert "text: " in refused(capsys, tmp_path, classifier, f"--text={tmp_path}/texts.xlsx")


class MeanBertForSequenceClassification(BertForSequenceClassification):
    """A classifier of a user's own, that reads the mean of all tokens."""

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, **kwargs):
        states = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
        return SequenceClassifierOutput(logits=self.classifier(states.mean(1)))


def test_a_model_that_computes_something_else(classifier):
    model = MeanBertForSequenceClassification.from_pretrained(classifier)
    with pytest.raises(LTPError, match=r"outputs of this MeanBert\w+ differ by .* from those of transformers"):
        ltp.prune(model, AutoTokenizer.from_pretrained(classifier), some_texts(220), minutes=0.1)


class PeftModelForSequenceClassification(torch.nn.Module):
    """By its name a classifier."""


def test_a_wrapper_round_a_model(classifier):
    with pytest.raises(LTPError, match="PeftModelForSequenceClassification is none of transformers' own models"):
        ltp.prune(PeftModelForSequenceClassification(), AutoTokenizer.from_pretrained(classifier), some_texts(220))


def test_a_model_of_several_numbers_a_text(tmp_path):
    folder = save_classifier(tmp_path, labels=3)
    model = AutoModelForSequenceClassification.from_pretrained(folder, problem_type="regression")
    with pytest.raises(LTPError, match="gives several numbers for a text; expected one that gives one class or number"):
        ltp.prune(model, AutoTokenizer.from_pretrained(folder), some_texts(220))


def test_a_model_of_several_labels_a_text(classifier):
    model = AutoModelForSequenceClassification.from_pretrained(classifier, problem_type="multi_label_classification")
    with pytest.raises(LTPError, match="gives several labels for a text"):
        ltp.prune(model, AutoTokenizer.from_pretrained(classifier), some_texts(220))


def test_a_tokenizer_of_another_model(classifier, tmp_path):
    save_tokenizer(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens([f"word{number}" for number in range(30)])
    with pytest.raises(LTPError, match=r"tokenizer: has 56 word pieces, small embeds 26; expected the model's own"):
        ltp.prune(str(classifier), tokenizer, some_texts(220))
    tokenizer = AutoTokenizer.from_pretrained(classifier, pad_token="[UNK]")
    with pytest.raises(LTPError, match="tokenizer: pads with 1, small with 0"):
        ltp.prune(str(classifier), tokenizer, some_texts(220))


def test_a_query_that_leaves_no_room(classifier, tmp_path, capsys):
    path = write(tmp_path / "pairs.csv", ["query", "passage"], LONG)
    line = refused(capsys, tmp_path, classifier, f"--text={path}", "--text-columns", "query", "passage")
    assert "has 41 tokens, and at most 28 leave room for passage among the 32 that are read" in line


def test_too_few_queries(tmp_path, capsys):
    folder = save_classifier(tmp_path / "reranker", labels=1)
    path = write(tmp_path / "pairs.csv", ["query", "passage"], some_pairs(4, 60))
    line = refused(capsys, tmp_path, folder, f"--text={path}", "--text-columns", "query", "passage")
    assert "pairs.csv: 4 texts in query with several in passage; expected at least 10 such queries" in line


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts: no rows"),
        ([1, 2], "texts: number 1 is 1; expected texts, or pairs of texts"),
        (["a text", ("a", "pair")], "texts: number 2 is"),
        ([("a", "pair"), ("a", "b", "c")], "texts: number 2 is"),
        ([("a", None)] * 300, "texts, row 1: text_pair is empty"),
        (["a text", b"caf\xe9".decode(errors="surrogateescape")], "texts: number 2 holds .*, half a character"),
    ],
)
def test_texts_in_memory_that_cannot_be_used(classifier, texts, message):
    with pytest.raises(LTPError, match=message):
        ltp.prune(str(classifier), None, texts)


@pytest.mark.parametrize("flops", ["0.5", ["0.5"], [None]])
def test_a_budget_that_is_no_number(classifier, flops):
    with pytest.raises(LTPError, match=r"flops: '?\S+ is no number; expected shares"):
        ltp.prune(str(classifier), None, some_texts(220), flops=flops)


def test_a_budget_of_any_kind_of_number(classifier):
    assert PruneSettings(flops=(np.float32(0.5),)).flops == (0.5,)
    with pytest.raises(LTPError, match="expected at least 200"):  # the next thing that is checked
        ltp.prune(str(classifier), None, some_texts(20), flops=np.float32(0.5))


def test_labels_in_memory_that_do_not_fit(classifier):
    with pytest.raises(LTPError, match="labels: 1 for 220 texts; expected as many"):
        ltp.prune(str(classifier), None, some_texts(220), labels=["good"])


def test_an_output_that_appears_meanwhile_costs_no_work(tmp_path):
    kept = r"is there since the call began; the result is kept, move it from .*result"
    with pytest.raises(LTPError, match=kept), work_folder(tmp_path / "out") as folder:
        (folder / "result").mkdir()
        (tmp_path / "out").mkdir()
        move(folder, tmp_path / "out")
    assert (tmp_path / ".out.partial/result").is_dir()


def test_an_output_that_is_there(classifier, text_file, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main(["prune", str(classifier), f"--text={text_file}", f"--output={tmp_path}/out"]) == 1
    assert "out is there already; choose another folder" in capsys.readouterr().err


@given(st.integers(1, 40), st.floats(0.001, 0.999))
def test_any_share_between_0_and_1_is_a_budget(count, share):
    from ltp.settings.oneshot import PruneSettings

    shares = sorted({share * (index + 1) / count for index in range(count)})
    assert PruneSettings(flops=tuple(shares)).flops == tuple(shares)


def interrupt_at_the_end(command, monkeypatch):
    """Run a call that the user ends when all is done but the timing."""

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(speed, "measure", interrupt)
        assert main(command) == 130


def test_an_interrupted_call_goes_on_and_gives_the_same(classifier, text_file, tmp_path, monkeypatch, capsys):
    command = ["prune", str(classifier), f"--text={text_file}", f"--output={tmp_path}/out", "--minutes=0.2"]
    interrupt_at_the_end(command, monkeypatch)
    assert not (tmp_path / "out").exists()
    plan = json.loads((tmp_path / ".out.partial/plan.json").read_text())
    assert main(command) == 0
    assert "going on where an earlier call was interrupted" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert json.loads((tmp_path / "out/report.json").read_text())["steps"] == plan["steps"]


def test_a_call_of_other_settings_starts_anew(classifier, text_file, tmp_path, monkeypatch, capsys):
    command = ["prune", str(classifier), f"--text={text_file}", f"--output={tmp_path}/out", "--minutes=0.2"]
    interrupt_at_the_end(command, monkeypatch)
    capsys.readouterr()
    assert main([*command, "--flops=0.7"]) == 0
    assert "going on" not in capsys.readouterr().err
    (point,) = json.loads((tmp_path / "out/report.json").read_text())["points"]
    assert point["target"] == 0.7


def test_a_full_disk_costs_no_work(classifier, text_file, tmp_path, monkeypatch, capsys):
    command = ["prune", str(classifier), f"--text={text_file}", f"--output={tmp_path}/out", "--minutes=0.2"]
    full = OSError(errno.ENOSPC, "No space left on device")

    def write(*arguments):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr("ltp.oneshot.prune.card", lambda *arguments: patch.setattr(os, "fsync", write) or "")
        assert main(command) == 1
    assert "cannot be written (No space left on device); make room" in capsys.readouterr().err
    assert main(command) == 0
    assert "going on where an earlier call was interrupted" in capsys.readouterr().err


def test_other_tokens_of_the_same_text_start_anew(classifier, text_file, tmp_path):
    original, settings = load_original(str(classifier), None), PruneSettings()
    texts = make_texts(original, read_table(text_file, settings), settings)
    other = replace(texts, rows=texts.rows.map(lambda row: {"input_ids": row["input_ids"][::-1]}))
    assert fingerprint(original, texts, settings) == fingerprint(original, texts, settings)
    assert fingerprint(original, texts, settings) != fingerprint(original, other, settings)


def test_a_call_that_fails_leaves_nothing(classifier, text_file, tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise LTPError("made up")

    monkeypatch.setattr(speed, "measure", fail)
    assert main(["prune", str(classifier), f"--text={text_file}", f"--output={tmp_path}/out", "--minutes=0.1"]) == 1
    assert "made up" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
