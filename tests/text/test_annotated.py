"""Labels within the text: CoNLL's columns and SQuAD's JSON, from the file to the token."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from helpers.annotated import write_conll, write_squad

from ltp.common.errors import LTPError
from ltp.settings.data import DataSettings
from ltp.settings.tasks import get_task
from ltp.text.annotated import as_iob2, clean_questions, clean_words, with_word_labels
from ltp.text.dataset import load
from ltp.text.prepare import prepare
from ltp.text.sources import read_source
from ltp.text.splitting import check_text, split_examples
from ltp.text.stratify import cut_groups
from ltp.text.tokenise import _align_words
from ltp.text.types import Table

CONLL = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
British JJ I-NP I-MISC

Paris NNP I-NP I-LOC
London NNP I-NP B-LOC
New NNP I-NP B-LOC
York NNP I-NP I-LOC
"""
PASSAGE = "The Normans came in the 10th century, from Denmark."


def wish(path: Path, kind: str, **other) -> DataSettings:
    return DataSettings(**{"task": "own", "source": "local", "path": str(path), "kind": kind} | other)


def splits(settings: DataSettings):
    return split_examples(read_source(settings, settings.get_task()), settings)


def squad(path: Path, *questions: dict, context: str = PASSAGE) -> Path:
    path.write_text(
        json.dumps({"data": [{"title": "Normans", "paragraphs": [{"context": context, "qas": questions}]}]})
    )
    return path


def asked(question: str, *answers: tuple[str, int]) -> dict:
    found = [{"text": text, "answer_start": start} for text, start in answers]
    return {"question": question, "answers": found, "is_impossible": not answers}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-A I-A O I-A", "B-A I-A O B-A"),
        ("I-A B-A I-A I-B", "B-A B-A I-A B-B"),
        ("O B-A I-A O", "O B-A I-A O"),
        ("O O", "O O"),
    ],
)
def test_iob1_becomes_iob2_and_iob2_stays(tags, expected):
    assert as_iob2(tags.split()) == expected.split() == as_iob2(expected.split())


def test_conll_names_and_labels_are_found(tmp_path):
    """CoNLL-2003's own file names say the split; the last column is the label, in IOB1."""
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (tmp_path / name).write_text(CONLL)
    task, frames, selection, _ = splits(wish(tmp_path, "tokens"))
    assert (list(frames), selection) == (["train", "validation", "test"], "given")
    assert task.labels == ("O", "B-LOC", "I-LOC", "B-MISC", "B-ORG")
    named = [[task.labels[number] for number in row] for row in frames["test"]["label"]]
    assert named == [["B-ORG", "O", "B-MISC"], ["B-LOC", "B-LOC", "B-LOC", "I-LOC"]]
    assert frames["test"]["text"].tolist() == ["EU rejects British", "Paris London New York"]
    for tags, expected in (("I-ORG", [4]), ("B-LOC I-LOC", [1, 2]), ("O I-LOC B-LOC", [0, 1, 1])):
        words = pd.DataFrame({"tokens": [["a"] * len(tags.split())], "ner_tags": [tags.split()]})
        assert clean_words(Table("row", words), task)["label"].tolist() == [expected]
    task, frames, *_ = splits(wish(tmp_path, "tokens", label_column="2", metrics=["token_accuracy"]))
    assert task.labels == ("JJ", "NNP", "VBZ")


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_words_as_the_hub_has_them(tmp_path, suffix):
    """Lists of words and of numbers, or names, of labels."""
    frame = pd.DataFrame({"tokens": [["EU", "rejects"], ["New", "York"]], "ner_tags": [[3, 0], [5, 6]]})
    path = tmp_path / f"train.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    (tmp_path / f"dev.{suffix}").write_bytes(path.read_bytes())
    with pytest.raises(LTPError, match="no training example of task conll2003 is labelled B-PER"):
        splits(wish(tmp_path, "tokens", task="conll2003"))
    task, frames, *_ = splits(wish(tmp_path, "tokens"))
    assert task.labels == ("0", "3", "5", "6")
    assert frames["train"]["label"].tolist() == [[1, 0], [2, 3]]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_questions_as_the_hub_has_them(tmp_path, suffix):
    """``answers`` holds two lists, arrays where pandas reads them; other columns may be there."""
    answers = [{"text": ["Denmark"], "answer_start": [43]}, {"text": [], "answer_start": []}]
    frame = pd.DataFrame(
        {"id": ["1", "2"], "title": "Normans", "context": PASSAGE, "question": ["Whence?", "Why?"], "answers": answers}
    )
    for name in ("train", "validation", "test"):
        path = tmp_path / f"{name}.{suffix}"
        if suffix == "parquet":
            frame.to_parquet(path)
        else:
            path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    _, frames, *_ = splits(wish(tmp_path, "spans", task="squad_v2"))
    assert frames["test"]["label"].tolist() == [[(43, "Denmark")], []]
    assert frames["test"]["text"].tolist() == ["Whence?", "Why?"]


def test_the_first_piece_of_a_word_has_its_label(tiny_encoder, tmp_path):
    """The tiny tokenizer cuts n12 off its mark and knows no n12; words beyond max_length have no token."""
    write_conll(tmp_path / "train.conll", 60)
    write_conll(tmp_path / "dev.conll", 20, first=60, iob=1)
    info = prepare(wish(tmp_path, "tokens", model=str(tiny_encoder), max_length=9), tmp_path / "data")
    assert (info["kind"], info["num_labels"]) == ("tokens", 5)
    assert info["label_names"] == ["O", "B-BAD", "I-BAD", "B-GOOD", "I-GOOD"]
    tokenised, _ = load(tmp_path / "data")
    cut = 0
    for row in tokenised["train"]:
        words = row["text"].split()
        assert row["length"] == len(row["input_ids"]) == len(row["labels"]) == len(row["word_ids"]) <= 9
        placed = {word: label for word, label in zip(row["word_ids"], row["labels"], strict=True) if word >= 0}
        assert placed == {word: row["word_labels"][word] for word in range(min(7, len(words)))}
        assert (row["labels"][0], row["labels"][-1]) == (-100, -100)
        cut += max(0, len(words) - 7)
    assert info["beyond_max_length"]["train"] == cut > 0
    lengths = tokenised["validation"]["length"]
    assert list(lengths) == sorted(lengths)


def test_a_word_of_several_pieces_counts_once(tiny_encoder, tmp_path):
    (tmp_path / "a.conll").write_text("film-plot A\nthe B\n\nactor A\nscene,story B\n\nis A\nwas B\n")
    settings = wish(tmp_path / "a.conll", "tokens", model=str(tiny_encoder), max_length=24, metrics=["token_accuracy"])
    prepare(settings, tmp_path / "data")
    tokenised, info = load(tmp_path / "data")
    rows = {row["text"]: row for split in tokenised.values() for row in split}
    assert rows["film-plot the"]["labels"] == [-100, 0, -100, -100, 1, -100]
    assert rows["actor scene,story"]["word_ids"] == [-1, 0, 1, -1, -1, -1]
    assert info["label_names"] == ["A", "B"]


def test_answers_stand_at_their_tokens(tiny_encoder, tmp_path):
    """By characters; a question without answer, or with one beyond max_length, has the first token."""
    write_squad(tmp_path / "train-v2.0.json", 60)
    write_squad(tmp_path / "dev-v2.0.json", 40, first=60)
    info = prepare(wish(tmp_path, "spans", model=str(tiny_encoder), max_length=16), tmp_path / "data")
    assert (info["kind"], info["num_labels"], info["label_names"]) == ("spans", 2, None)
    tokenised, _ = load(tmp_path / "data")
    found = cut = 0
    for row in tokenised["train"]:
        first, last = row["labels"]
        if not row["answers"]:
            assert (first, last) == (0, 0)
        elif first:
            assert row["text_pair"][row["char_starts"][first] : row["char_ends"][last]] == row["answers"][0]
            assert 0 < first <= last < row["length"]
            found += 1
        else:
            cut += 1
        marks = [index for index, start in enumerate(row["char_starts"]) if start >= 0]
        assert marks == list(range(6, row["length"] - 1))  # after [CLS] question [SEP], before the last [SEP]
        assert row["token_type_ids"] == [0] * 6 + [1] * (row["length"] - 6)
    assert found > 10 and info["beyond_max_length"]["train"] == cut > 0


def test_the_first_of_several_answers_is_trained_on_and_all_are_right(tiny_encoder, tmp_path):
    path = squad(tmp_path / "train.json", asked("When?", ("10th century", 24), ("the 10th century", 20)), asked("Who?"))
    squad(tmp_path / "dev.json", asked("When?", ("10th century", 24)), asked("Who?"))
    same = wish(path.parent, "spans", model=str(tiny_encoder), max_length=30)
    with pytest.raises(LTPError, match="a single text or article; add text, or set test: validation"):
        prepare(same, tmp_path / "data")
    prepare(replace(same, test="validation"), tmp_path / "data")
    row = next(row for row in load(tmp_path / "data")[0]["train"] if row["answers"])
    first, last = row["labels"]
    assert row["text_pair"][row["char_starts"][first] : row["char_ends"][last]] == "10th century"
    assert row["answers"] == ["10th century", "the 10th century"]


def test_no_passage_is_in_two_splits(tmp_path):
    write_squad(tmp_path / "all.json", 90)
    _, frames, selection, _ = splits(wish(tmp_path / "all.json", "spans", validation_examples=12, test_examples=16))
    assert selection == "split" and len(frames["validation"]) == 12 and len(frames["test"]) == 16
    groups = [set(frame["group"]) for frame in frames.values()]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert len(frames["train"]) >= 90 - 12 - 16 - 4
    write_squad(tmp_path / "train.json", 30)
    write_squad(tmp_path / "dev.json", 60, first=30)
    (tmp_path / "all.json").unlink()
    _, frames, selection, _ = splits(wish(tmp_path, "spans"))
    assert selection == "half" and not set(frames["validation"]["group"]) & set(frames["test"]["group"])


def test_groups_are_cut_whole():
    keys = [number // 4 for number in range(40)]
    first, second, rest = cut_groups(keys, [5, 8, None], seed=0)
    held = [{keys[index] for index in part} for part in (first, second, rest)]
    assert (len(first), len(second)) == (5, 8) and list(map(len, held)) == [2, 2, 6]
    assert not held[0] & held[1] and not (held[0] | held[1]) & held[2]
    assert [part.tolist() for part in cut_groups(keys, [5, 8, 20], seed=0)[:2]] == [first.tolist(), second.tolist()]
    assert len(cut_groups(keys, [41], seed=0)[0]) == 40


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train.conll",
            "EU I-ORG\nrejects\n",
            "line 2: has 1 columns, expected 2: a word, its labels, and a blank line",
        ),
        ("train.conll", "EU\nrejects\n", "line 1: has 1 columns, expected 2"),
        ("train.conll", "EU O\nrejects O\n", "ner_tags has 1 different labels, expected 2 to 1000"),
        ("train.conll", "", "no rows; expected labelled examples"),
        ("train.json", "[1, 2]", "a value of the wrong type; expected SQuAD's data, paragraphs"),
        ("train.json", '{"rows": []}', "no 'data'; expected SQuAD's data, paragraphs"),
        (
            "train.json",
            '{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "b"}]}]}]}',
            "no 'answers'; expected SQuAD's",
        ),
        ("train.json", "{", "not JSON"),
        ("train.json", '{"data": []}', "no rows; expected labelled examples"),
    ],
)
def test_broken_columns_and_questions_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(LTPError) as caught:
        check_text(wish(path, "tokens" if name.endswith("conll") else "spans"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_answers_elsewhere_empty_questions_and_long_ones_are_refused(tiny_encoder, tmp_path):
    def refusal(*questions: dict, **other) -> str:
        path = squad(tmp_path / "train.json", *questions)
        with pytest.raises(LTPError) as caught:
            settings = {"model": str(tiny_encoder), "max_length": 24} | other
            prepare(wish(settings.pop("path", path), "spans", **settings), tmp_path / "data")
        assert "\n" not in str(caught.value) and not (tmp_path / "data").exists()
        return str(caught.value)

    assert "row 1: answers: 'Denmark' is not at character 3 of the passage" in refusal(asked("Where?", ("Denmark", 3)))
    assert "row 1: question is empty" in refusal(asked(" "))
    many = [asked(f"Who {'was ' * number}it?") for number in range(1, 13)]
    squad(tmp_path / "dev.json", *many)
    long = "max_length: 16 leaves no room for a passage beside the train question 'Who was was was"
    assert long in refusal(*many, max_length=16, test="validation", path=tmp_path)
    (tmp_path / "dev.json").unlink()
    one = refusal(asked("Who?"), asked("Why?"))
    assert "validation_examples: 1 asked, task own has 0 left in articles or passages of no other split" in one


@pytest.mark.parametrize(("name", "kind"), [("train.conll", "tokens"), ("train.json", "spans")])
def test_a_file_of_another_encoding_is_refused(tmp_path, name, kind):
    (tmp_path / name).write_bytes("Zürich B-LOC\n".encode("latin-1"))
    with pytest.raises(LTPError, match="not UTF-8 in line 1 \\(byte 1\\); save it as UTF-8"):
        check_text(wish(tmp_path / name, kind))


def test_words_that_do_not_fit_are_refused(tmp_path):
    def refusal(**columns) -> str:
        path = tmp_path / "train.jsonl"
        path.write_text(json.dumps(columns))
        with pytest.raises(LTPError) as caught:
            check_text(wish(path, "tokens", task="conll2003"))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "row 1: 2 words and 1 labels; expected as many" in refusal(tokens=["a", "b"], ner_tags=["O"])
    assert "row 1: ner_tags is 'B-CITY', expected one of O, B-PER" in refusal(tokens=["a"], ner_tags=["B-CITY"])
    assert "row 1: tokens is 'a b', expected a list" in refusal(tokens="a b", ner_tags=["O"])
    assert "row 1: a word of tokens is empty" in refusal(tokens=["a", ""], ner_tags=["O", "O"])
    assert "row 1: 'New York' is several words" in refusal(tokens=["New York"], ner_tags=["O"])
    assert "no column 'ner_tags', it has tokens, tags; name the right one in label_column" in refusal(
        tokens=["a"], tags=["O"]
    )


@pytest.mark.skipif(not os.environ.get("LTP_TEXT"), reason="set LTP_TEXT to a folder of CoNLL-2003 and SQuAD 2.0")
def test_real_text(tmp_path):
    """Every sentence and question of the real files is read, and answers stand where their tokens say."""
    folder = Path(os.environ["LTP_TEXT"])
    info = prepare(wish(folder, "tokens", task="conll2003", max_length=96), tmp_path / "conll")
    assert info["examples"] == {"train": 14041, "validation": 3250, "test": 3453}
    path = next(folder.glob("squad*.json"))
    info = prepare(wish(path, "spans", task="squad_v2", max_length=320, validation_examples=700, test_examples=700),
                   tmp_path / "squad")  # fmt: skip
    train = load(tmp_path / "squad")[0]["train"]
    answered = [row for row in train if row["labels"][0]]
    exact = sum(
        row["text_pair"][row["char_starts"][row["labels"][0]] : row["char_ends"][row["labels"][1]]] == row["answers"][0]
        for row in answered
    )
    assert exact >= 0.99 * len(answered) > 1000 and info["beyond_max_length"]["train"] < 0.02 * len(answered)


class Encoded(dict):
    """What a tokenizer gives, of one text of four tokens between two special ones."""

    def sequence_ids(self, row):
        return [None, 0, 0, 0, 0, None]


def test_a_word_is_found_where_its_token_has_the_blank_before_it():
    """As byte-level tokenizers cut that do not trim: " is" stands from 5 to 8."""
    example = {"words": ["Paris", "is", "in", "France"], "label": [1, 0, 0, 1]}
    for starts in ((0, 5, 8, 11), (0, 6, 9, 12)):
        spans = [(0, 0), *zip(starts, (5, 8, 11, 18), strict=True), (0, 0)]
        found = _align_words(Encoded(offset_mapping=[spans]), 0, example)
        assert found["word_ids"].tolist() == [-1, 0, 1, 2, 3, -1]
        assert found["labels"].tolist() == [-100, 1, 0, 0, 1, -100]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"text": "Paris", "answer_start": 0}, "expected a list each of text and answer_start"),
        ({"text": None, "answer_start": None}, "expected a list each of text and answer_start"),
        ({"text": ["The"], "answer_start": ["0"]}, "'The' at '0', expected a text and a whole number of characters"),
        ({"text": ["The"], "answer_start": [0.5]}, "expected a text and a whole number"),
        ({"text": [None], "answer_start": [0]}, "expected a text and a whole number"),
    ],
)
def test_answers_of_the_wrong_form_are_refused(tmp_path, answers, message):
    row = {"title": "a", "question": "Who?", "context": PASSAGE, "answers": answers}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    with pytest.raises(LTPError) as caught:
        check_text(wish(tmp_path / "a.jsonl", "spans"))
    assert "row 1: answers" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("missing", [None, ["a", "list"], 3])
def test_a_passage_without_a_title_is_a_group_of_its_own(missing):
    titles = [f"article {row}" for row in range(10)] + [missing, missing]
    frame = pd.DataFrame(
        {"title": titles, "question": "Who?", "context": [f"{PASSAGE} {row}" for row in range(12)],
         "answers": [{"text": [], "answer_start": []}] * 12}
    )  # fmt: skip
    groups = clean_questions(Table("t", frame), get_task("own", kind="spans"))["group"].tolist()
    assert groups == [*titles[:10], f"{PASSAGE} 10", f"{PASSAGE} 11"]


def test_declared_word_labels_are_those_of_their_numbers():
    names = ("1", "2", "0")
    table = Table("t", pd.DataFrame({"tokens": [["a", "b", "c"]], "ner_tags": [[0, 1, 2]]}), {"ner_tags": names})
    task = with_word_labels(get_task("own", kind="tokens"), table)
    assert task.labels == names and clean_words(table, task)["label"].tolist() == [[0, 1, 2]]


def test_a_question_that_fits_no_test_length_is_refused_before_anything_is_written(tiny_encoder, tmp_path):
    for name, count in (("train", 12), ("dev", 12), ("test", 12)):
        questions = [asked(f"{'who was ' * 3}{name} {number}?") for number in range(count)]
        squad(tmp_path / f"{name}.json", *questions, context=f"{PASSAGE} {name}")
    settings = wish(tmp_path, "spans", model=str(tiny_encoder), max_length=32, test_max_lengths=[8, 32])
    with pytest.raises(LTPError, match="max_length: 8 leaves no room for a passage beside the test question"):
        prepare(settings, tmp_path / "data")
    assert not (tmp_path / "data").exists()
