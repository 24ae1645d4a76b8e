"""TODO"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ltp.analysis.study import FINAL_STAGES, deviation
from ltp.common.names import METHODS, PRUNING_METHODS


def setting_points(rows: Sequence[dict[str, str]]) -> list[Point]:
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        final = row["status"] == "complete" and row["stage"] in FINAL_STAGES
        if final and row["test_score"] and row["test_relative_flops"]:
            groups[row["method"], row["setting"]].append(row)
    points = []
    for (method, label), members in groups.items():
        members.sort(key=lambda row: int(row["seed"]))
        scores = [float(row["test_score"]) for row in members]
        flops = [100 * float(row["test_relative_flops"]) for row in members]
        chosen = any(row["frontier"] == "true" for row in members)
        points.append(
            Point(method, label, fmean(scores), deviation(scores), fmean(flops), deviation(flops), chosen, members)
        )
    return sorted(points, key=lambda point: (METHODS.index(point.method), point.flops, point.label))


def chosen_points(points: Sequence[Point], summary: set[str]) -> list[Point]:
    """A point per pruning method: its operating point in summary.csv, or else its best on the frontier."""
    chosen = []
    for method in PRUNING_METHODS:
        members = [point for point in points if point.method == method and point.on_frontier]
        within = [point for point in members if ";".join(row["run"] for row in point.rows) in summary]
        best = max(members, key=lambda p: fmean(float(r["validation_score"]) for r in p.rows), default=None)
        chosen += within or ([best] if best else [])
    return chosen


@dataclass(eq=False)
class Point:
    """A setting as a figure shows it: means and deviations over its seeds, on the test split."""

    method: str
    label: str
    score: float  # points
    score_sd: float | None
    flops: float  # share of dense, in %
    flops_sd: float | None
    on_frontier: bool
    rows: list[dict[str, str]]

    def layers(self, column: str) -> list[float]:
        """Mean over seeds of a per-layer column of runs.csv; empty where a run has none."""
        lists = [[float(value) for value in row[column].split(";")] for row in self.rows if row[column]]
        return [fmean(values) for values in zip(*lists, strict=True)] if lists else []
