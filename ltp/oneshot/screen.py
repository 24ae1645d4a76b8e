"""What one call found, as one screen of text and as a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]


def screen(report: Report) -> str:
    """The report of one call: a block for one budget, a table for several."""
    texts = report["texts"]
    head = (
        f"{report['model']}: pruned on {texts['train']:,} texts, reported on {texts['kept']:,} kept aside, of "
        f"{texts['mean_tokens']:.0f} tokens on average{_cut(texts)}"
    )
    points = report["points"]
    lines = [head, "", *(_table(points) if len(points) > 1 else _point(points[0]))]
    return "\n".join([*lines, *(["", report["note"]] if report.get("note") else [])])


def _point(point: Report) -> Iterator[str]:
    rows = [*agreement_rows(point), ("FLOPs", f"{100 * point['flops']:.1f} %", "of the original's")]
    for row in point["speed"]:
        what = "one at a time" if row["batch"] == 1 else f"{row['batch']} at a time"
        rows.append(
            (
                what,
                f"{row['pruned_ms']:.1f} ms",
                f"the original {row['original_ms']:.1f} ms: {row['speedup']:.2f} × as fast, {_by_pruning(row)}",
            )
        )
    width, middle = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    for name, value, more in rows:
        yield f"  {name:<{width}}  {value:>{middle}}  {more}".rstrip()
    if point["changes"] or point["examples"]:
        yield ""
        yield "what goes wrong most"
        for change in point["changes"]:
            yield f"  {change['original']} → {change['pruned']}: {change['texts']} of {change['of']}"
        for example in point["examples"]:
            sure = f" ({example['probability']:.2f})" if "probability" in example else ""
            yield f"  “{example['text']}”: {example['original']}{sure} → {example['pruned']}"


def _by_pruning(row: Report) -> str:
    """How much of a speed-up is the tokens that are dropped; the rest is that no padding is computed."""
    return f"{row['by_pruning']:.2f} × by pruning"


def _cut(texts: Report) -> str:
    """How many of the texts that are reported on are longer than what both models read; empty where none is."""
    many = "1 is" if texts["cut"] == 1 else f"{texts['cut']:,} are"
    return f" ({many} cut at {texts['max_length']} tokens, for the original too)" if texts["cut"] else ""


def agreement_rows(point: Report) -> list[tuple[str, str, str]]:
    """Name, value and interval of each way to compare the answers."""
    rows = []
    for found in point["agreement"]:
        equal = f"; {found['equal']} of {point['kept']}" if "equal" in found else ""
        rows.append((found["name"], _number(found, found["estimate"]), f"95 %: {_ends(found)}{equal}"))
    for score in point["scores"]:
        both = f"the original {100 * score['original']['estimate']:.1f}"
        gap = {name: 100 * value for name, value in score["difference"].items()}
        difference = f"{gap['estimate']:+.1f}, 95 %: {gap['low']:+.1f} to {gap['high']:+.1f}"
        rows.append((f"{score['metric']} × 100", f"{100 * score['pruned']['estimate']:.1f}", f"{both} ({difference})"))
    return rows


def _number(found: Report, value: float) -> str:
    return f"{100 * value:.1f} %" if _is_share(found) else f"{value:.3f}"


def _is_share(found: Report) -> bool:
    return "equal" in found or bool(found.get("share"))


def _ends(found: Report) -> str:
    if _is_share(found):
        return f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"
    return f"{found['low']:.3f} to {found['high']:.3f}"


def table_rows(points: Sequence[Report]) -> list[list[str]]:
    """A head and a row a budget: FLOPs, agreement, speed, score."""
    first = points[0]
    head = [
        "budget",
        "FLOPs",
        *(row[0] for row in agreement_rows(first)),
        *(f"× at {r['batch']}" for r in first["speed"]),
    ]
    cells = [
        [
            f"{100 * point['target']:g} %", f"{100 * point['flops']:.1f} %", *(row[1] for row in agreement_rows(point)),
            *(f"{row['speedup']:.2f}" for row in point["speed"]),
        ]
        for point in points
    ]  # fmt: skip
    return [head, *cells]


def _table(points: Sequence[Report]) -> Iterator[str]:
    rows = table_rows(points)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))


def card(report: Report, point: Report, front_matter: str) -> str:
    """README.md of a pruned model's folder, as the Hugging Face Hub reads it."""
    rows = "\n".join(f"| {name} | {value} | {more} |" for name, value, more in agreement_rows(point))
    speed = "\n".join(
        f"| {row['batch']} at a time | {row['pruned_ms']:.1f} ms | the original {row['original_ms']:.1f} ms: "
        f"{row['speedup']:.2f} × as fast, {_by_pruning(row)} ({row['threads']} threads, {row['machine']}) |"
        for row in point["speed"]
    )
    changed = "\n".join(f"- {c['original']} → {c['pruned']}: {c['texts']} of {c['of']}" for c in point["changes"])
    wrong = f"\nWhich answers change most:\n\n{changed}\n" if changed else ""
    texts = report["texts"]
    return f"""{front_matter}
# {report["model"]}, pruned to {100 * point["target"]:g} % of its FLOPs

Learned token pruning: layer by layer, tokens that contribute little to the others are dropped. Thresholds and weights
were set on {texts["train"]} texts without labels, to give the original's answers; figures are of {texts["kept"]} other
texts, {texts["mean_tokens"]:.0f} tokens each on average{_cut(texts)}.

| | | |
|---|---|---|
{rows}
| FLOPs | {100 * point["flops"]:.1f} % | of the original's |
{speed}
{wrong}
```python
import ltp  # pip install learned-token-pruning; teaches transformers the pruning model
from transformers import pipeline

answer = pipeline("text-classification", model="path/to/this/folder")
```

`ltp export FOLDER --output served --onnx --int8` writes ONNX files. The folder `data` holds tokens and text that the
export is checked on, **yours**: remove it before you publish this folder.
"""
