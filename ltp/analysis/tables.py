"""Runs → runs.csv, frontier.csv, summary.csv, matched.csv, lengths.csv; the same runs give the same bytes (but times).

Scores are in points (fractions × 100), FLOPs in GFLOPs a sentence or relative to the dense model. A run that is
missing, diverged or damaged is listed with its reason and enters no figure. Settings are picked on the validation
split and reported on the test split.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ltp.analysis.csv_files import CHECKSUMS, rows_text
from ltp.analysis.labels import label_runs
from ltp.analysis.lengths import LENGTHS, LengthRow, length_rows
from ltp.analysis.load import leave_out_others, load_run, verify_reported
from ltp.analysis.matched import MATCHED, Curves, MatchedRow, curves_of, matched_rows, mean_rows
from ltp.analysis.runs import RUNS, runs_table
from ltp.analysis.study import Setting, Study, studies_of
from ltp.analysis.summary import SUMMARY, SummaryRow, summary_rows
from ltp.common.io import file_sha256, write_json, write_text

FRONTIER = "frontier.csv"


@dataclass
class FrontierRow:
    """A setting that no other of its method beats on both score and FLOPs of the validation split."""

    task: str
    model: str
    metric: str
    method: str
    setting: str
    seeds: int
    validation_score: float
    validation_score_sd: float | None
    validation_relative_flops: float
    test_score: float
    test_score_sd: float | None
    test_relative_flops: float
    test_relative_flops_sd: float | None
    test_gflops: float
    test_flops_reduction: float
    runs: list[str]


def write_tables(metrics_paths: Iterable[str | os.PathLike[str]], output_dir: str | os.PathLike[str]) -> list[str]:
    """Write the five tables, and their checksums, into ``output_dir``; returns the problems, one line each.

    ``metrics_paths``: the metrics.json of every run that the grid asks for; what is not there is listed as missing.
    config.json of every run is checked, and all files of the runs that summary.csv rests on.
    Raises LTPError when the tables cannot be written.
    """
    output_dir = Path(output_dir)
    paths = {Path(path) for path in metrics_paths}
    runs = sorted((load_run(path, output_dir) for path in paths), key=lambda run: run.name)
    frontier: list[FrontierRow] = []
    summary: list[SummaryRow] = []
    curves: list[Curves] = []
    lengths: list[LengthRow] = []
    for study in studies_of(runs):
        finished = [run for run in study.runs if run.metrics]
        if finished:
            label_runs(finished)
            leave_out_others(study)
            verify_reported(study)
            frontier += [_frontier_row(study, setting) for setting in study.settings if setting.on_frontier]
            summary += summary_rows(study)
            curves += filter(None, [curves_of(study)])
            lengths += length_rows(study)
    label_runs([run for run in runs if not run.metrics])
    tables = {
        RUNS: runs_table(runs, {name for row in frontier for name in row.runs}),
        FRONTIER: rows_text(FrontierRow, frontier),
        SUMMARY: rows_text(SummaryRow, summary),
        MATCHED: rows_text(MatchedRow, [*chain.from_iterable(map(matched_rows, curves)), *mean_rows(curves)]),
        LENGTHS: rows_text(LengthRow, lengths),
    }
    for name, text in tables.items():
        write_text(output_dir / name, text)
    write_json(output_dir / CHECKSUMS, {name: file_sha256(output_dir / name) for name in tables})
    return [f"{run.status}: {run.name}: {run.reason}" for run in runs if run.status != "complete"]


def _frontier_row(study: Study, setting: Setting) -> FrontierRow:
    return FrontierRow(
        task=study.task,
        model=study.model,
        metric=study.metric,
        method=setting.method,
        setting=setting.label,
        seeds=len(setting.runs),
        validation_score=setting.score("validation"),
        validation_score_sd=setting.score_sd("validation"),
        validation_relative_flops=setting.flops("validation"),
        test_score=setting.score("test"),
        test_score_sd=setting.score_sd("test"),
        test_relative_flops=setting.flops("test"),
        test_relative_flops_sd=setting.flops_sd("test"),
        test_gflops=setting.gflops("test"),
        test_flops_reduction=1 / setting.flops("test"),
        runs=[run.name for run in setting.runs],
    )
