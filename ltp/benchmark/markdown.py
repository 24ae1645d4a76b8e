"""speed.csv -> a Markdown table: backends in rows, texts and batch sizes in columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ltp.benchmark.table import read_speed

Row = dict[str, str]


def markdown(path: str | Path) -> str:
    """The speed-up of each backend over Hugging Face's model padded to the batch, then its agreement.

    In brackets, for one that prunes: its gain over the same kind of backend unpruned. The last column is the smallest
    of its agreements with the reference. Raises LTPError for a damaged table.
    """
    rows = read_speed(path)
    columns = list(dict.fromkeys(map(_column, rows)))
    lines = ["| | " + " | ".join(columns) + " | same answers |", "|---" * (len(columns) + 2) + "|"]
    for title in dict.fromkeys(row["title"] for row in rows):
        members = {_column(row): row for row in rows if row["title"] == title}
        cells = [_cell(members[column]) if column in members else "" for column in columns]
        agreement = min(float(row["agreement"]) for row in members.values())
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {100 * agreement:.1f} % |")
    return "\n".join([*lines, "", _origin(rows), ""])


def _column(row: Row) -> str:
    """What is timed: encoder, text and length, batch size."""
    length = f"{row['max_length']}" if row["cut"] == "true" else f"{float(row['mean_tokens']):.0f}"
    return f"{row['model']}, {row['text']}, {length} tokens, batch {row['batch']}"


def _cell(row: Row) -> str:
    gain = f" ({float(row['speedup_over_unpruned']):.2f})" if row["speedup_over_unpruned"] else ""
    return f"{float(row['speedup']):.2f}{gain}"


def _origin(rows: Sequence[Row]) -> str:
    """Where, when and with what the rows were measured, and what each method costs."""

    def values(key: str) -> str:
        return ", ".join(dict.fromkeys(row[key] for row in rows if row[key]))

    shares = dict.fromkeys(
        f"{row['method']} {100 / float(row['flops_reduction']):.0f} % on {_column(row).rsplit(', ', 1)[0]}"
        for row in rows if row["unpruned"] and row["cut"] == "false"
    )  # fmt: skip
    where = (
        f"{values('machine')}, {values('threads')} threads, {values('date')}, commit {values('commit') or 'unknown'}"
    )
    return f"{where}. FLOPs of unpruned: {'; '.join(shares)}." if shares else f"{where}."
