"""lengths.csv: ranges that hold every sentence once, right and wrong answers counted apart, runs without the record."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from helpers.fake_study import EXAMPLES, forget_lengths, metrics_of, write, write_study
from hypothesis import given
from hypothesis import strategies as st

from ltp.analysis.lengths import BINS, LENGTHS, length_ranges, read_lengths
from ltp.analysis.runs import read_studies
from ltp.analysis.tables import write_tables
from ltp.common.errors import LTPError
from ltp.results.run import read_metrics, read_predictions, write_predictions, write_run


def forget_costs(directory):
    """Make a run one of a version that recorded neither lengths nor costs."""
    kept = {
        split: {name: columns[name] for name in ("labels", "predictions")}
        for split, columns in read_predictions(directory).items()
    }
    write_predictions(directory, kept)
    write_run(directory, read_metrics(directory))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_tables(write_study(root, (0, 1)), root)
    return root


@given(st.lists(st.integers(3, 40), min_size=1, max_size=200))
def test_ranges_hold_every_length_once(lengths):
    ranges = length_ranges(lengths)
    assert 1 <= len(ranges) <= BINS
    assert [sum(low <= length <= high for low, high in ranges) for length in lengths] == [1] * len(lengths)
    assert all(low <= high for low, high in ranges) and ranges == sorted(ranges)


def test_ranges_hold_about_as_many_sentences_each():
    lengths = np.random.default_rng(0).integers(5, 60, 1200)
    counts = [((lengths >= low) & (lengths <= high)).sum() for low, high in length_ranges(lengths)]
    assert len(counts) == BINS and max(counts) < 1.3 * min(counts)


def test_texts_cut_at_one_length_are_a_range():
    cut = [128] * 230 + [140, 170, 190] + [192] * 230 + [200, 230] + [256] * 220
    assert length_ranges(cut) == [(128, 128), (140, 192), (200, 256)]
    assert length_ranges([48] * 9) == [(48, 48)]


def test_rows_count_the_answers_of_the_predictions(study):
    rows = read_lengths(study)
    assert {row.method for row in rows} == {"dense", "ltp", "topk", "manual"}
    (found,) = read_studies(study)
    point = found.operating_point("ltp")
    mine = [row for row in rows if row.method == "ltp"]
    assert sum(row.examples for row in mine) == 2 * EXAMPLES and {row.seeds for row in mine} == {2}
    columns = [read_predictions(run.directory)["test"] for run in point.runs]
    row = next(row for row in mine if row.answer == "wrong")
    shares = [
        share
        for of_seed in columns
        for label, answer, length, share in zip(
            of_seed["labels"], of_seed["predictions"], of_seed["lengths"], of_seed["relative_flops"], strict=True
        )
        if label != answer and row.shortest <= length <= row.longest
    ]
    assert (row.setting, row.examples) == (point.label, len(shares))
    assert row.relative_flops == pytest.approx(np.mean(shares))
    assert row.relative_flops_sd == pytest.approx(np.std(shares, ddof=1))
    assert row.validation_relative_flops == pytest.approx(point.flops("validation"))


def test_a_regression_has_one_kind_of_answer(tmp_path):
    paths = [write(tmp_path / "dense", metrics_of("dense", "base", 0, 0.9, 1.0))]
    paths.append(write(tmp_path / "ltp", metrics_of("ltp", "hard", 0, 0.9, 0.5)))
    for path in paths:
        columns = read_predictions(path.parent)
        for split in columns.values():
            split |= {name: list(map(float, split[name])) for name in ("labels", "predictions")}
        write_predictions(path.parent, columns)
        write_run(path.parent, read_metrics(path))
    write_tables(paths, tmp_path)
    rows = read_lengths(tmp_path)
    assert {row.answer for row in rows} == {"any"}
    assert sum(row.examples for row in rows) == 2 * EXAMPLES


def test_runs_of_early_versions_have_no_rows_and_are_no_problem(tmp_path):
    paths = write_study(tmp_path)
    for path in paths:
        forget_costs(path.parent)
    assert write_tables(paths, tmp_path) == []
    assert read_lengths(tmp_path) == []
    forget_lengths(tmp_path)  # nor are tables that an early version made
    assert read_lengths(tmp_path) == []


def test_a_table_that_was_removed_is_missed(study, tmp_path):
    shutil.copy(study / ".tables.json", tmp_path)
    with pytest.raises(LTPError, match=r"lengths\.csv: cannot be read"):
        read_lengths(tmp_path)


def test_a_study_with_runs_of_both_kinds_shows_those_that_know(tmp_path):
    paths = write_study(tmp_path)
    for path in paths:
        if "topk" in str(path):
            forget_costs(path.parent)
    write_tables(paths, tmp_path)
    assert {row.method for row in read_lengths(tmp_path)} == {"dense", "ltp", "manual"}


def test_a_changed_table_is_refused(study, tmp_path):
    text = (study / LENGTHS).read_text()
    (tmp_path / LENGTHS).write_text(text.replace(",wrong,", ",right,", 1))
    shutil.copy(study / ".tables.json", tmp_path)
    with pytest.raises(LTPError, match=r"lengths\.csv: was changed after it was made; make it again with `ltp tables`"):
        read_lengths(tmp_path)
