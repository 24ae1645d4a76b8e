"""From text to tokenised splits on disk: what is written, the same each time, whole or refused."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.common.io import file_sha256
from ltp.results.checkpoint import TOKENIZER_FILES
from ltp.results.dataset import read_info
from ltp.settings.data import DataSettings
from ltp.text import prepare as data
from ltp.text.cleaning import keys
from ltp.text.dataset import load
from ltp.text.packaged import packaged_model_path
from ltp.text.prepare import prepare
from ltp.text.splitting import split_examples
from ltp.text.tokenizer import load_tokenizer
from ltp.text.types import Source, Table

SENTENCE = "a film that is better than its plot , and longer than most of us had hoped it would be"
WORDS = SENTENCE.split()


def texts(count: int, name: str = "") -> list[str]:
    """Different texts of different lengths, in no order of length."""
    return [" ".join(WORDS[: 1 + row * 7 % len(WORDS)]) + f" {name}{row}" for row in range(count)]


def write_single(folder: Path, counts: dict[str, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in counts.items():
        frame = pd.DataFrame({"sentence": texts(count, name), "label": [row % 2 for row in range(count)]})
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


def write_pairs(folder: Path, counts: dict[str, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in counts.items():
        columns = {
            "sentence1": texts(count, name),
            "sentence2": texts(count, "again"),
            "label": np.arange(count) % 11 / 2,
        }
        pd.DataFrame(columns).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """The packaged encoder's config and tokenizer: all that data need of it, without its 90 MB."""
    folder = tmp_path_factory.mktemp("encoder")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(packaged_model_path() / name, folder / name)
    return folder


def settings(encoder: Path, path: Path, task: str = "sst2", **given: object) -> DataSettings:
    return DataSettings(**{"task": task, "source": "local", "path": str(path), "model": str(encoder), **given})


def test_fewer_texts_than_were_asked_for_are_said(encoder, tmp_path, capsys):
    path = write_single(tmp_path / "text", {"train": 40})
    options = ["--task=sst2", "--source=local", f"--path={path}", f"--model={encoder}", "--model-source=local"]
    asked = ["--train-examples=30", "--validation-examples=10", "--test-examples=10"]
    assert main(["data", *options, *asked, f"--output={tmp_path}/data"]) == 0
    assert "train_examples: 30 asked, 24 used: the text has too few" in capsys.readouterr().out


@pytest.mark.parametrize("length", [8, 64])
def test_texts_that_are_cut_are_counted(encoder, tmp_path, capsys, length):
    folder = write_single(tmp_path / "text", {"train": 60, "dev": 20})
    flags = [f"--path={folder}", f"--model={encoder}", f"--max-length={length}", f"--output={tmp_path}/data"]
    assert main(["data", "--task=sst2", "--source=local", *flags]) == 0
    lengths = np.asarray(load(tmp_path / "data")[0]["train"]["length"])
    said = f"max_length: {(lengths >= 8).sum()} of 60 training texts are cut at 8 word pieces"
    assert (said in capsys.readouterr().out) == (length == 8)


def refusal(wish: DataSettings, output: Path) -> str:
    with pytest.raises(LTPError) as caught:
        prepare(wish, output)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written(encoder, tmp_path):
    from transformers import AutoTokenizer

    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    written = prepare(settings(encoder, path, max_length=16), tmp_path / "data")
    splits, info = load(tmp_path / "data")
    assert info == written == read_info(tmp_path / "data")
    assert info["examples"] == {"train": 40, "validation": 10, "test": 10} == {k: len(v) for k, v in splits.items()}
    assert info["task"] == "sst2" and info["label_names"] == ["negative", "positive"] and info["num_labels"] == 2
    assert info["metrics"] == ["accuracy"] == [info["primary_metric"]] and info["selection"] == "half"
    assert info["max_length"] == 16 and info["text_columns"] == ["sentence"] and info["kind"] == "classification"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "data/tokenizer")
    assert tokenizer.backend_tokenizer.truncation is None
    for name, split in splits.items():
        assert split.column_names == ["input_ids", "labels", "length", "text"]
        assert str(split.features["labels"].dtype) == "int64"
        expected = tokenizer(split["text"][:], truncation=True, max_length=16)["input_ids"]
        assert split["input_ids"][:] == expected and split["length"][:] == list(map(len, expected))
        assert info["mean_length"][name] == pytest.approx(np.mean(split["length"]))
        assert (split["length"][:] == sorted(split["length"])) == (name != "train")
        assert max(split["length"]) == 16
    assert sorted(splits["train"]["text"]) == sorted(texts(40, "train"))
    assert splits["train"]["text"][:] != texts(40, "train")
    files = [*path.iterdir(), *(encoder / name for name in ("config.json", *TOKENIZER_FILES))]
    assert info["inputs"] == {str(file): file_sha256(file) for file in files if file.exists()}
    assert str(tmp_path) not in json.dumps(info | {"model": "", "inputs": {}})


def test_test_texts_are_cut_at_other_lengths(encoder, tmp_path):
    """Equal parts of them at each, independent of the label; training, validation and the articles stay the same."""
    path = write_single(tmp_path / "text", {"train": 40, "dev": 160})
    short = settings(encoder, path, max_length=6)
    plain = prepare(short, tmp_path / "plain")
    assert "test_max_lengths" not in plain
    wish = replace(short, test_max_lengths=(8, 12))
    info = prepare(wish, tmp_path / "data")
    assert info["max_length"] == 6 and info["test_max_lengths"] == [8, 12]
    assert prepare(wish, tmp_path / "again")["fingerprint"] == info["fingerprint"] != plain["fingerprint"]
    before, splits = load(tmp_path / "plain")[0], load(tmp_path / "data")[0]
    for name in ("train", "validation"):
        assert splits[name]["input_ids"][:] == before[name]["input_ids"][:]
    test, tokenizer = splits["test"], load_tokenizer(tmp_path / "data/tokenizer")
    assert sorted(test["text"]) == sorted(before["test"]["text"]) and test["length"][:] == sorted(test["length"])
    whole = [len(ids) for ids in tokenizer(test["text"][:])["input_ids"]]
    assert all(ids == tokenizer(text, truncation=True, max_length=len(ids))["input_ids"]
               for text, ids in zip(test["text"], test["input_ids"], strict=True))  # fmt: skip
    at = {cut: [label for label, length, full in zip(test["labels"], test["length"], whole, strict=True)
                if length == cut < full] for cut in (8, 12)}  # fmt: skip
    assert set(at) == {cut for cut, labels in at.items() if len(set(labels)) == 2}
    assert all(length in (8, 12) or length == full for length, full in zip(test["length"], whole, strict=True))


def test_a_test_length_beyond_the_model_is_refused(encoder, tmp_path):
    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    message = refusal(settings(encoder, path, test_max_lengths=[16, 513]), tmp_path / "data")
    assert message.startswith("test_max_lengths: 513 is more than the 512 tokens that")


def test_pairs_and_scores(encoder, tmp_path):
    path = write_pairs(tmp_path / "text", {"train": 40, "dev": 20})
    prepare(settings(encoder, path, "stsb"), tmp_path / "data")
    splits, info = load(tmp_path / "data")
    assert info["kind"] == "regression" and info["label_names"] is None and info["num_labels"] == 1
    for split in splits.values():
        assert split.column_names == ["input_ids", "token_type_ids", "labels", "length", "text", "text_pair"]
        assert str(split.features["labels"].dtype) == "float32"
        for ids, types in zip(split["input_ids"], split["token_type_ids"], strict=True):
            second = ids.index(102) + 1  # after the first [SEP]
            assert types == [0] * second + [1] * (len(ids) - second)
    pairs = dict(zip(texts(40, "train"), zip(texts(40, "again"), np.arange(40) % 11 / 2, strict=True), strict=True))
    for row in splits["train"]:
        assert pairs[row["text"]] == (row["text_pair"], row["labels"])


def test_an_encoder_without_token_types_gets_none(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text()) | {"type_vocab_size": 1}
    (folder / "config.json").write_text(json.dumps(config))
    path = write_pairs(tmp_path / "text", {"train": 30, "dev": 10})
    prepare(settings(folder, path, "stsb"), tmp_path / "data")
    assert "token_type_ids" not in load(tmp_path / "data")[0]["test"].column_names


def test_the_same_input_and_seed_give_the_same_fingerprint(encoder, tmp_path):
    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    wish = settings(encoder, path)
    first = prepare(wish, tmp_path / "a")
    assert prepare(wish, tmp_path / "b") == first == prepare(wish, tmp_path / "a")
    others = [
        prepare(settings(encoder, path, split_seed=1), tmp_path / "b"),
        prepare(settings(encoder, path, max_length=8), tmp_path / "b"),
        prepare(settings(encoder, path, train_examples=39), tmp_path / "b"),
    ]
    frame = pd.read_csv(path / "train.csv")
    frame.loc[5, "label"] = 1 - frame.loc[5, "label"]
    frame.to_csv(path / "train.csv", index=False)
    others.append(prepare(wish, tmp_path / "b"))
    assert len({info["fingerprint"] for info in [first, *others]}) == 5


def test_training_on_more_leaves_what_is_measured_as_it_was(encoder, tmp_path):
    file = write_single(tmp_path / "text", {"train": 100}) / "train.csv"
    measured = []
    for count in (20, 60):
        wish = settings(encoder, file, train_examples=count, validation_examples=20, test_examples=20)
        prepare(wish, tmp_path / str(count))
        splits, _ = load(tmp_path / str(count))
        measured.append([splits[name]["text"][:] for name in ("validation", "test")])
        assert len(splits["train"]) == count
    assert measured[0] == measured[1]


@pytest.mark.parametrize(
    ("files", "test", "expected", "found"),
    [
        ({"train": 60}, None, {"train": 48, "validation": 6, "test": 6}, "split"),
        ({"train": 60, "dev": 20}, None, {"train": 60, "validation": 10, "test": 10}, "half"),
        ({"train": 60, "dev": 20}, "validation", {"train": 60, "validation": 20, "test": 20}, "validation"),
        ({"train": 60, "dev": 20}, "split", {"train": 48, "validation": 6, "test": 6}, "split"),
        ({"train": 60, "dev": 20, "test": 30}, None, {"train": 60, "validation": 20, "test": 30}, "given"),
        ({"train": 60, "test": 30}, None, {"train": 54, "validation": 6, "test": 30}, "given"),
    ],
)
def test_where_the_test_split_comes_from(encoder, tmp_path, files, test, expected, found):
    path = write_single(tmp_path / "text", files)
    info = prepare(settings(encoder, path, "mine", text_columns=["sentence"], test=test), tmp_path / "data")
    assert info["selection"] == found and info["examples"] == expected
    assert ("as in the paper" in info["selection_note"]) == (found == "validation")
    splits, _ = load(tmp_path / "data")
    same = splits["validation"]["text"][:] == splits["test"]["text"][:]
    shared = set(splits["validation"]["text"]) & set(splits["test"]["text"])
    assert same if found == "validation" else not shared


def test_mnli_reports_both_of_its_validation_splits(encoder, tmp_path):
    for name in ("train", "dev_matched", "dev_mismatched"):
        labels = ["entailment", "neutral", "contradiction"] * 8
        frame = pd.DataFrame({"premise": texts(24, name), "hypothesis": texts(24), "label": labels})
        (tmp_path / "text").mkdir(exist_ok=True)
        frame.to_csv(tmp_path / f"text/{name}.tsv", sep="\t", index=False)
    info = prepare(settings(encoder, tmp_path / "text", "mnli"), tmp_path / "data")
    assert info["examples"] == {"train": 24, "validation": 12, "test": 12, "test_mismatched": 24}
    splits, _ = load(tmp_path / "data")
    assert sorted(splits["test_mismatched"]["text"]) == sorted(texts(24, "dev_mismatched"))


def test_texts_that_splits_share_are_counted(encoder, tmp_path):
    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    frame = pd.read_csv(path / "dev.csv")
    frame.loc[:2, "sentence"] = [text.upper() for text in texts(3, "train")]
    frame.to_csv(path / "dev.csv", index=False)
    shared = prepare(settings(encoder, path), tmp_path / "data")["source"]["texts_shared_with_train"]
    assert sum(shared.values()) == 3


rows_ = st.lists(
    st.tuples(st.sampled_from(["Good film", "good  film", "bad", "so so"]), st.integers(0, 9)), min_size=20, max_size=60
)


@given(rows_, st.integers(0, 3))
def test_text_in_one_piece_is_cut_with_no_text_in_two_splits(rows, seed):
    # The label follows from the text, so that dropped repeats cannot empty a class that the rest still has.
    text = [f"{text} {number}" for text, number in rows] + [f"anchor {row}" for row in range(40)]
    frame = pd.DataFrame({"text": text, "label": [len(item) % 2 for item in text]})
    wish = DataSettings(
        task="x", source="local", path="x", text_columns=["text"], labels=["0", "1"], split_seed=seed,
        validation_examples=8, test_examples=8,
    )  # fmt: skip
    source = Source({"train": Table("x", frame)}, {})
    _, frames, _, notes = split_examples(source, wish)
    seen = [key for part in frames.values() for key in keys(part)]
    assert len(set(seen)) == len(seen) == len(frame) - notes["repeated_texts_dropped"]
    assert len(frames["validation"]) == len(frames["test"]) == 8
    unique = frame.loc[~keys(frame).duplicated(), "label"]
    assert abs(frames["test"]["label"].sum() - 8 * unique.mean()) < 1
    again = split_examples(source, wish)[1]
    assert all(frames[name].equals(again[name]) for name in frames)


def test_a_max_length_beyond_the_model_is_refused(encoder, tmp_path):
    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    message = refusal(settings(encoder, path, max_length=513), tmp_path / "data")
    assert message.startswith("max_length: 513 is more than the 512 tokens that")
    assert not (tmp_path / "data").exists()


def test_a_broken_tokenizer_is_one_line(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    assert "tokenizer not readable" in refusal(settings(folder, path), tmp_path / "data")


def test_a_refused_text_leaves_earlier_data_as_they_were(encoder, tmp_path):
    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    before = prepare(settings(encoder, path), tmp_path / "data")
    (path / "train.csv").write_text("sentence,label\n,1\n")
    assert "text/train.csv, row 1: sentence is empty" in refusal(settings(encoder, path), tmp_path / "data")
    assert load(tmp_path / "data")[1] == before


def test_an_interrupted_call_leaves_nothing_that_loads(encoder, tmp_path, monkeypatch):
    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    prepare(settings(encoder, path), tmp_path / "data")
    save = data._save

    def fail_at_test(table, folder):
        if folder.name == "test":
            raise KeyboardInterrupt
        save(table, folder)

    monkeypatch.setattr(data, "_save", fail_at_test)
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(encoder, path), tmp_path / "data")
    with pytest.raises(LTPError, match=r"task\.json: not there; make the data with `ltp data`"):
        load(tmp_path / "data")
    monkeypatch.undo()
    prepare(settings(encoder, path), tmp_path / "data")
    assert len(load(tmp_path / "data")[0]["test"]) == 10


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "task.json").write_text("{"), "task.json: not readable as JSON"),
        (lambda folder: (folder / "task.json").write_text('{"schema": 0}'), "task.json: schema 0, expected 1"),
        (lambda folder: (folder / "task.json").write_text("[]"), "task.json: schema None, expected 1"),
        (lambda folder: shutil.rmtree(folder / "test"), "test: missing, truncated or changed"),
        (lambda folder: os.truncate(next((folder / "train").glob("*.arrow")), 100), "train: missing, truncated"),
        (lambda folder: (folder / "train/state.json").write_text("{"), "train: not readable"),
    ],
)
def test_damaged_data_are_refused_in_one_line(encoder, tmp_path, damage, message):
    prepare(settings(encoder, write_single(tmp_path / "text", {"train": 40, "dev": 20})), tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(LTPError) as caught:
        load(tmp_path / "data")
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(
    not os.environ.get("LTP_GLUE"), reason="set LTP_GLUE to a folder of GLUE's files to read the real ones"
)
@pytest.mark.parametrize(
    ("task", "train", "validation"),
    [("sst2", 67349, 872), ("mrpc", 3668, 408), ("cola", 8551, 1043), ("stsb", 5749, 1500)],
)
def test_real_glue(encoder, tmp_path, task, train, validation):
    wish = settings(encoder, Path(os.environ["LTP_GLUE"]), task, train_examples=2000, max_length=64)
    info = prepare(wish, tmp_path)
    splits, _ = load(tmp_path)
    assert info["examples"]["train"] == 2000 and info["selection"] == "half"
    assert info["examples"]["validation"] + info["examples"]["test"] == validation
    assert abs(info["examples"]["validation"] - info["examples"]["test"]) <= 3
    columns = [name for name in splits["test"].column_names if name.startswith("text")]
    halves = [set(zip(*(splits[name][c][:] for c in columns), strict=True)) for name in ("validation", "test")]
    assert not halves[0] & halves[1]
    means = [np.mean(splits[name]["labels"]) for name in ("validation", "test")]
    assert abs(means[0] - means[1]) < (0.1 if task == "stsb" else 0.01)
    more = settings(encoder, Path(os.environ["LTP_GLUE"]), task, train_examples=train + 1)
    assert prepare(more, tmp_path)["examples"]["train"] == train


def test_data_are_not_written_over_the_text_that_they_are_made_of(encoder, tmp_path):
    import datasets

    path = write_single(tmp_path / "text", {"train": 40, "dev": 20})
    assert "holds the text itself" in refusal(settings(encoder, path), path)
    table = datasets.Dataset.from_pandas(pd.read_csv(path / "train.csv"))
    datasets.DatasetDict(train=table).save_to_disk(str(tmp_path / "saved"))
    for source in (path, tmp_path / "saved"):
        assert "holds a data set of the library `datasets`" in refusal(settings(encoder, source), tmp_path / "saved")
    assert len(datasets.load_from_disk(str(tmp_path / "saved"))["train"]) == 40
