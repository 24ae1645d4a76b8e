"""What a grid costs before it starts: runs, training tokens and hours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ltp.grid.candidates import warn_of_unequal_candidates
from ltp.grid.grid import Grid, Run
from ltp.grid.sizes import Size, task_sizes


def run_tokens(run: Run, size: Size) -> float | None:
    """Tokens that a training sees: examples × mean length × epochs; None where the examples are unknown."""
    return None if size.tokens is None else size.tokens * run.settings["epochs"]


def stage_of(run: Run) -> str:
    """The kind of a run, by which it is counted: base, soft, hard, dense+, topk or manual."""
    return run.stage if run.method in ("dense", "ltp") else run.method


def render_plan(grid: Grid, tokens_per_second: float, jobs: int = 1) -> str:
    """The plan as text: tasks, runs and tokens per stage, hours at a stated speed."""
    sizes = task_sizes(grid)
    rows = [("task", "examples", "tokens each", "")]
    for name, size in sizes.items():
        examples = "?" if size.examples is None else f"{size.examples:,}"
        rows.append((name, examples, f"{size.mean_length:.0f}", "measured" if size.measured else "assumed"))
    lines = [*_columns(rows), ""]

    runs: dict[str, int] = defaultdict(int)
    tokens: dict[str, float] = defaultdict(float)
    for run in grid.runs.values():
        runs[stage_of(run)] += 1
        tokens[stage_of(run)] += run_tokens(run, sizes[run.task]) or 0.0
    rows = [("stage", "runs", "training tokens", "hours")]
    rows += [(stage, f"{runs[stage]:,}", *_cost(tokens[stage], tokens_per_second)) for stage in runs]
    total = sum(tokens.values())
    rows.append(("all", f"{len(grid.runs):,}", *_cost(total, tokens_per_second)))
    lines += [*_columns(rows), ""]

    for warning in warn_of_unequal_candidates(grid, sizes):
        lines += [warning, ""]
    hours = total / tokens_per_second / 3600 / jobs
    at_once = "one job at a time" if jobs == 1 else f"{jobs} jobs at a time"
    lines.append(f"About {_hours(hours)} hours at {tokens_per_second:,.0f} tokens/s a job, {at_once}.")
    unknown = [name for name, size in sizes.items() if size.examples is None]
    if unknown:
        files = " ".join(f"{grid.results_dir}/{name}/data/task.json" for name in unknown)
        names = ", ".join(unknown)
        lines.append(f"Not counted, size unknown until the data are prepared: {names}; snakemake --cores 1 {files}")
    return "\n".join(lines)


def _cost(tokens: float, tokens_per_second: float) -> tuple[str, str]:
    return f"{tokens:,.0f}", _hours(tokens / tokens_per_second / 3600)


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows as aligned text: names to the left, figures to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) if not i else cell.rjust(width) for i, (cell, width) in enumerate(cells)).rstrip()
        for cells in (zip(row, widths, strict=True) for row in rows)
    ]
