"""The sentences that are timed, and their batches."""

from __future__ import annotations

from pathlib import Path

import datasets
from transformers import RobertaConfig

from ltp.benchmark import texts
from ltp.benchmark.texts import batches, read_texts


def test_batches_hold_every_sentence_once(tiny_data):
    text = next(read_texts(tiny_data, 16, ()))
    lengths = [len(row["input_ids"]) for row in text.rows]
    assert lengths != sorted(lengths)
    for kind in ("padded", "dynamic", "sorted"):
        found = list(batches(text, kind, 3, RobertaConfig(max_position_embeddings=66)))
        assert sorted(place for places, _ in found for place in places) == list(range(16))
        for places, batch in found:
            assert batch["attention_mask"].sum(1).tolist() == [lengths[place] for place in places]
            widest = 64 if kind == "padded" else max(lengths[place] for place in places)
            assert batch["input_ids"].shape == (len(places), widest)
    assert [lengths[place] for places, _ in found for place in places] == sorted(lengths)


def test_text_kept_aside_is_timed_where_there_is_no_test_split(monkeypatch):
    splits = {
        name: datasets.Dataset.from_dict({"input_ids": [[1, number, 2]] * 3})
        for number, name in ((7, "train"), (8, "validation"))
    }
    monkeypatch.setattr(texts, "load", lambda folder: (splits, {"task": "t", "max_length": 8}))
    (text,) = read_texts(Path("data"), 3, ())
    assert [row["input_ids"][1] for row in text.rows] == [8, 8, 8]


def test_text_cut_to_a_length_begins_and_ends_as_sentences_do(tiny_data):
    whole, *cut = read_texts(tiny_data, 8, (5, 20))
    assert [text.max_length for text in cut] == [5, 20]
    for text in cut:
        ids = [row["input_ids"] for row in text.rows]
        assert {len(row) for row in ids} == {text.max_length} and len(set(map(tuple, ids))) == len(ids)
        start, end = whole.rows[0]["input_ids"][0], whole.rows[0]["input_ids"][-1]
        assert all(row[0] == start and row[-1] == end for row in ids)


def test_there_are_as_many_cut_sentences_as_a_batch_needs(tiny_data, monkeypatch):
    monkeypatch.setattr(texts, "MAX_CUT_SENTENCES", 4)
    assert [len(text.rows) for text in read_texts(tiny_data, 16, (5,))][1] == 4
    whole, cut = read_texts(tiny_data, 16, (5,), batch=12)
    assert len(cut.rows) == 12 and len(cut.for_batches_of(12).rows) == 12
    assert len(cut.for_batches_of(1).rows) == 4 and len(whole.for_batches_of(1).rows) == 16
