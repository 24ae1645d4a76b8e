"""Text from local files: every format round-trips, every bad input is one line that says where."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ltp.common.errors import LTPError
from ltp.common.io import file_sha256
from ltp.settings.data import DataSettings
from ltp.settings.tasks import Task, get_task
from ltp.text.cleaning import clean, with_labels
from ltp.text.sources import read_source
from ltp.text.splitting import check_text, split_examples
from ltp.text.types import Source, Table

TEXTS = ['he said "no" and left', "a 'fine' film , really", "naïve – λ café", 'one " mark', "null", "5"]
FRAME = pd.DataFrame({"text": TEXTS, "label": [0, 1, 1, 0, 1, 0]})
REVIEWS = {"task": "reviews", "source": "local", "text_columns": ["text"], "label_column": "label"}


def read(path: Path, **settings: object) -> Source:
    settings = DataSettings(**{**REVIEWS, "path": str(path), **settings})
    return read_source(settings, settings.get_task())


def refusal(path: Path, **settings: object) -> str:
    """The one line with which a text is refused."""
    with pytest.raises(LTPError) as caught:
        check_text(DataSettings(**{**REVIEWS, "path": str(path), **settings}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_tsv(path: Path, frame: pd.DataFrame, header: bool = True) -> Path:
    """Without quoting, as GLUE's files are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [list(frame.columns)] * header + frame.astype(str).to_numpy().tolist()
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write(path: Path, frame: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".tsv" | ".txt":
            write_tsv(path, frame)
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl" | ".json":
            lines = [json.dumps(row, ensure_ascii=False) for row in frame.to_dict("records")]
            path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
        case ".parquet":
            frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["tsv", "txt", "csv", "jsonl", "json", "parquet"])
def test_every_format_round_trips(tmp_path, suffix):
    source = read(write(tmp_path / f"reviews.{suffix}", FRAME))
    assert list(source.tables) == ["train"]
    examples = clean(source.tables["train"], get_task("x", text_columns=["text"], labels=["no", "yes"]))
    assert examples["text"].tolist() == TEXTS and examples["label"].tolist() == FRAME["label"].tolist()
    assert source.origin["files"]["train"]["sha256"] == file_sha256(tmp_path / f"reviews.{suffix}")
    assert str(tmp_path) not in json.dumps(source.origin)


def test_a_csv_field_may_hold_commas_quotation_marks_and_line_breaks(tmp_path):
    frame = FRAME.assign(text=['a, "b"', "two\nlines", *TEXTS[2:]])
    assert read(write(tmp_path / "a.csv", frame)).tables["train"].frame["text"].tolist() == frame["text"].tolist()


def test_a_tsv_whose_cells_are_quoted_is_refused(tmp_path):
    (tmp_path / "a.tsv").write_text('text\tlabel\n"two\nlines"\tno\nplain\tyes\n')
    with pytest.raises(LTPError, match=r"a\.tsv: line 2 has fewer cells than there are columns \(2\); .*quoted"):
        read(tmp_path / "a.tsv")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_with_another_separator_is_refused(tmp_path, separator):
    (tmp_path / "a.csv").write_text(f"text{separator}label\na{separator}no\n")
    with pytest.raises(LTPError, match=r"has one column, .* expected commas"):
        read(tmp_path / "a.csv")


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path):
    write_tsv(tmp_path / "a.tsv", FRAME)
    (tmp_path / "a.tsv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.tsv").read_bytes())
    assert list(read(tmp_path / "a.tsv").tables["train"].frame) == ["text", "label"]


@pytest.mark.parametrize(
    ("dev", "suffix"), [("dev", "tsv"), ("validation", "csv"), ("val", "jsonl"), ("valid", "parquet")]
)
def test_a_folder_of_splits(tmp_path, dev, suffix):
    for stem in ("train", dev, "test"):
        write(tmp_path / f"{stem}.{suffix}", FRAME.assign(text=[f"{text} {stem}" for text in TEXTS]))
    (tmp_path / "README.md").write_text("about")
    source = read(tmp_path)
    assert set(source.tables) == {"train", "validation", "test"}
    assert source.tables["validation"].frame["text"].str.endswith(f" {dev}").all()


@pytest.mark.parametrize("in_one_piece", [True, False])
def test_data_sets_saved_to_disk(tmp_path, in_one_piece):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    data = datasets.Dataset.from_dict(FRAME.to_dict("list"), features=features)
    saved = data if in_one_piece else datasets.DatasetDict(train=data, dev=data.select(range(3)))
    saved.save_to_disk(str(tmp_path / "saved"))
    source = read(tmp_path / "saved")
    assert set(source.tables) == ({"train"} if in_one_piece else {"train", "validation"})
    assert source.tables["train"].frame["text"].tolist() == TEXTS
    assert source.tables["train"].label_names == {"label": ("bad", "good")}


def glue_download(root: Path) -> None:
    """The folders and columns of GLUE's original download, as its script leaves them."""
    words = [f"word{number}" for number in range(12)]
    numbers = list(map(str, range(12)))
    labels, entailment = ["0", "1"] * 6, ["entailment", "not_entailment"] * 6
    for stem in ("train", "dev"):
        text = [f"{word} {stem}" for word in words]
        other = [f"{word} again" for word in text]
        write_tsv(root / f"SST-2/{stem}.tsv", pd.DataFrame({"sentence": text, "label": labels}))
        cola = pd.DataFrame({"source": "gj04", "label": labels, "star": "", "sentence": text})
        write_tsv(root / f"CoLA/{stem}.tsv", cola, header=False)
        mrpc = {"Quality": labels, "#1 ID": numbers, "#2 ID": numbers, "#1 String": text, "#2 String": other}
        write_tsv(root / f"MRPC/{stem}.tsv", pd.DataFrame(mrpc))
        stsb = {"index": numbers, "genre": "news", "sentence1": text, "sentence2": other, "score": "3.250"}
        write_tsv(root / f"STS-B/{stem}.tsv", pd.DataFrame(stsb))
        qqp = pd.DataFrame({"id": numbers, "question1": text, "question2": ["", *other[1:]], "is_duplicate": labels})
        with write_tsv(root / f"QQP/{stem}.tsv", qqp).open("a") as stream:
            stream.write("12\ta line that lacks fields\n")
        pairs = {"index": numbers, "question": text, "sentence": other, "label": entailment}
        write_tsv(root / f"QNLI/{stem}.tsv", pd.DataFrame(pairs))
        pairs = {"index": numbers, "sentence1": text, "sentence2": other, "label": entailment}
        write_tsv(root / f"RTE/{stem}.tsv", pd.DataFrame(pairs))
    for stem in ("train", "dev_matched", "dev_mismatched"):
        text = [f"{word} {stem}" for word in words]
        gold = ["entailment", "neutral", "contradiction"] * 4
        mnli = {"index": numbers, "sentence1": text, "sentence2": words, "label1": "neutral", "gold_label": gold}
        write_tsv(root / f"MNLI/{stem}.tsv", pd.DataFrame(mnli))
    for folder in ("SST-2", "CoLA", "QNLI", "RTE"):
        write_tsv(root / f"{folder}/test.tsv", pd.DataFrame({"index": numbers, "sentence": words}))


@pytest.mark.parametrize("task", ["sst2", "cola", "mrpc", "stsb", "qqp", "qnli", "rte", "mnli"])
def test_the_original_glue_download(tmp_path, task):
    glue_download(tmp_path)
    settings = DataSettings(task=task, source="local", path=str(tmp_path))
    described, frames, selection, _ = split_examples(read_source(settings, settings.get_task()), settings)
    assert selection == "half" and len(frames["train"]) == 12
    assert len(frames["validation"]) == len(frames["test"]) == 6
    assert set(frames) - {"train", "validation", "test"} == ({"test_mismatched"} if task == "mnli" else set())
    assert ("text_pair" in frames["train"]) == described.is_pair
    first = frames["train"].sort_values("text").iloc[0]
    assert first["text"] == "word0 train" and first["label"] == (3.25 if task == "stsb" else 0)


def test_mrpcs_own_files(tmp_path):
    columns = {"Quality": [1, 0] * 10, "#1 ID": 1, "#2 ID": 2, "#2 String": "said so"}
    for stem in ("train", "test"):
        frame = pd.DataFrame(columns | {"#1 String": [f"{stem} {row}" for row in range(20)]})
        write_tsv(tmp_path / f"MRPC/msr_paraphrase_{stem}.txt", frame)
    settings = DataSettings(task="mrpc", source="local", path=str(tmp_path))
    _, frames, selection, _ = split_examples(read_source(settings, settings.get_task()), settings)
    assert selection == "given" and {name: len(frame) for name, frame in frames.items()} == {
        "train": 18, "validation": 2, "test": 20,
    }  # fmt: skip


@pytest.mark.parametrize(("value", "label"), [("1", 1), (1, 1), (1.0, 1), ("good", 1), (" bad ", 0), (0, 0)])
def test_a_label_is_a_name_or_a_number(value, label):
    table = Table("t", pd.DataFrame({"text": ["a"], "label": pd.Series([value], dtype=object)}))
    assert clean(table, get_task("x", text_columns=["text"], labels=["bad", "good"]))["label"].tolist() == [label]


@pytest.mark.parametrize("names", [["0", "1", "10", "2"], ["1", "2", "3", "4"], ["c", "d", "a", "b"]])
def test_a_declared_class_is_the_one_of_its_number(names):
    """As class_encode_column makes them of numbers: in the order of their letters."""
    table = Table("t", pd.DataFrame({"text": list("abcd"), "label": [0, 1, 2, 3]}), {"label": tuple(names)})
    asked = get_task("x", text_columns=["text"])
    assert clean(table, with_labels(asked, table))["label"].tolist() == [0, 1, 2, 3]
    assert with_labels(asked, table).labels == tuple(names)
    turned = get_task("x", text_columns=["text"], labels=names[::-1])  # the task's own order
    assert clean(table, turned)["label"].tolist() == [3, 2, 1, 0]


def test_half_a_character_is_refused(tmp_path):
    lines = [json.dumps({"text": text, "label": number % 2}) for number, text in enumerate([*TEXTS, "good \ud83d"])]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert "row 7: text holds '\\ud83d', half a character; decode it as UTF-8" in refusal(tmp_path / "a.jsonl")


def test_two_splits_of_one_meaning_are_refused(tmp_path):
    import datasets

    data = datasets.Dataset.from_dict(FRAME.to_dict("list"))
    datasets.DatasetDict(train=data, validation=data, dev=data).save_to_disk(str(tmp_path / "saved"))
    assert "saved has validation and dev, both of the validation split" in refusal(tmp_path / "saved")


def test_classes_named_by_numbers_are_what_they_say():
    table = Table("t", pd.DataFrame({"text": ["a", "b"], "label": [1, 2]}))
    assert clean(table, get_task("x", text_columns=["text"], labels=[1, 2]))["label"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([10, 9, 10, 2, 9, 2], ["2", "9", "10"]), (["no", "yes", "no", "yes", "no", "yes"], ["no", "yes"])],
)
def test_labels_are_read_off_the_training_text(tmp_path, labels, expected):
    frame = pd.concat([FRAME.assign(label=labels, text=[f"{text} {n}" for text in TEXTS]) for n in range(10)])
    settings = DataSettings(**REVIEWS, path=str(write(tmp_path / "a.jsonl", frame)))
    task, *_ = split_examples(read_source(settings, settings.get_task()), settings)
    assert list(task.labels) == expected


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            {},
            {"text_columns": ["body"]},
            "a.jsonl: no column 'body', it has text, label; name the right one in text_columns",
        ),
        (
            {},
            {"label_column": "stars"},
            "a.jsonl: no column 'stars', it has text, label; name the right one in label_column",
        ),
        ({"text": ""}, {}, "a.jsonl, row 3: text is empty"),
        ({"text": "  \u00a0"}, {}, "a.jsonl, row 3: text is empty"),
        ({"text": None}, {}, "a.jsonl, row 3: text is empty"),
        ({"text": ["one", "two"]}, {}, "a.jsonl, row 3: text holds 2 values, expected one text; for pairs name two"),
        ({"text": 7}, {}, "a.jsonl, row 3: text is 7, expected text"),
        ({"label": None}, {}, "a.jsonl, row 3: label is missing"),
        ({"label": "perhaps"}, {"labels": ["no", "yes"]}, "row 3: label is 'perhaps', expected one of no, yes"),
        ({"label": -1}, {"labels": ["no", "yes"]}, "row 3: label is -1, a hidden label"),
        ({"label": 2}, {"labels": ["no", "yes"]}, "row 3: label is '2', expected one of no, yes"),
        ({"label": 0.5}, {}, "label holds 0.5, which is no class; for scores set kind: regression"),
        ({"label": [1]}, {"labels": ["no", "yes"]}, "label holds lists or objects, expected one label a row"),
        ({"label": [1]}, {}, "label holds lists or objects, expected one label a row"),
        ({"label": "high"}, {"kind": "regression"}, "row 3: label is 'high', expected a number"),
        ({"label": ""}, {"kind": "regression"}, "row 3: label is missing"),
        ({"label": "nan"}, {"kind": "regression"}, "row 3: label is 'nan', expected a number"),
        ({}, {"labels": ["0", "1", "2"]}, "labels: no training example of task reviews is labelled 2"),
        ({}, {"test": "half"}, "test: 'half' needs a labelled validation split, task reviews has train"),
        ({}, {"test": "given"}, "test: 'given' needs a labelled test split, task reviews has train"),
    ],
)
def test_a_text_that_does_not_fit_is_one_line(tmp_path, change, settings, message):
    rows = [{"text": f"{text} {number}", "label": label} for number in range(10) for text, label in FRAME.to_numpy()]
    rows[2] |= change
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert message in refusal(path, **settings)


def test_labels_of_one_kind_are_not_classes(tmp_path):
    assert "has 1 different labels, expected 2 to" in refusal(write(tmp_path / "a.csv", FRAME.assign(label="same")))
    many = pd.DataFrame({"text": [f"text {row}" for row in range(1500)], "label": [f"id{row}" for row in range(1500)]})
    assert "has 1500 different labels, expected 2 to" in refusal(write(tmp_path / "b.csv", many))


def test_a_validation_label_that_training_lacks_is_refused(tmp_path):
    write(tmp_path / "train.csv", FRAME)
    write(tmp_path / "dev.csv", FRAME.assign(label=[0, 1, 0, 1, 3, 0]))
    assert f"{tmp_path.name}/dev.csv, row 5: label is '3', expected one of 0, 1" in refusal(tmp_path)


def sizes(path: Path, **asked: int) -> dict[str, int]:
    """How many examples each split gets."""
    wish = DataSettings(**REVIEWS, path=str(path), **asked)
    return {name: len(frame) for name, frame in split_examples(read_source(wish, wish.get_task()), wish)[1].items()}


def test_of_less_text_than_was_asked_for_all_is_used(tmp_path):
    for stem in ("train", "dev"):
        write(tmp_path / f"{stem}.csv", FRAME)
    found = sizes(tmp_path, train_examples=7, validation_examples=4, test_examples=9)
    assert found == {"train": 6, "validation": 3, "test": 3}


def test_of_less_text_in_one_piece_each_split_gets_its_share(tmp_path):
    rows = [(f"{text} {number}", label) for number in range(10) for text, label in FRAME.to_numpy()]
    path = write(tmp_path / "a.csv", pd.DataFrame(rows, columns=FRAME.columns))
    assert sizes(path, train_examples=70, validation_examples=20, test_examples=10) == {
        "train": 42, "validation": 12, "test": 6,
    }  # fmt: skip
    assert "has 2 different texts; expected one at least for each split" in refusal(
        write(tmp_path / "b.csv", FRAME.iloc[:2])
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"text\tlabel\nfine\t1\ntoo\tmany\tfields\n", "a.tsv: not readable as tsv (Error tokenizing data"),
        ("a.tsv", b"text\tlabel\ntoo\tmany\tfields\n", "a.tsv: not readable as tsv"),
        ("a.csv", b'text,label\n"never closed,1\n', "a.csv: not readable as csv"),
        ("a.tsv", b"text\tlabel\nlacks a label\n", "a.tsv: line 2 has fewer cells than there are columns"),
        ("a.tsv", b"text\tlabel\ncaf\xe9\t1\n", "a.tsv: not UTF-8"),
        ("a.tsv", b"", "a.tsv: not readable as tsv"),
        ("a.tsv", b"text\tlabel\n", "a.tsv: no rows"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": \n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", b'["a", 1]\n', "a.jsonl, line 1: holds list, expected an object a line"),
        ("a.parquet", b"PAR1 no more", "a.parquet: not readable as parquet"),
        ("a.xlsx", b"", "a.xlsx ends in '.xlsx'; expected .tsv, .txt, .csv"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refusal(tmp_path / name, labels=["no", "yes"])


def test_a_path_that_leads_nowhere(tmp_path):
    assert f"path: {tmp_path}/none of task reviews is not there" in refusal(tmp_path / "none")
    (tmp_path / "notes.md").write_text("")
    assert "holds notes.md; expected train and validation (or dev) files of .tsv" in refusal(tmp_path)
    for suffix in ("csv", "tsv"):
        write(tmp_path / f"train.{suffix}", FRAME)
    assert "has train.csv and train.tsv, both of the train split" in refusal(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/state.json").write_text("{")
    assert "is not readable as a saved data set" in refusal(tmp_path / "broken")


def test_class_names_and_labels_meet_without_the_blanks_at_their_ends():
    frame = pd.DataFrame({"text": ["one", "two", "three"], "label": ["good ", "bad", " good"]})
    task = Task("reviews", ("text",), "label", "classification", ("bad ", "good "))
    assert clean(Table("reviews", frame), task)["label"].tolist() == [1, 0, 1]
