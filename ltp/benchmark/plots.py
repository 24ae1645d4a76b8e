"""speed.csv -> figures: speed-up against FLOPs reduction, latency, throughput, time against length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltp.benchmark.table import read_speed
from ltp.common.names import METHODS
from ltp.report.figures import STYLE, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Row = dict[str, str]
DPI = 300
OURS, THEIRS, DENSE = "#0072B2", "#777777", "#000000"  # packed and pruned, other libraries, packed and unpruned
PRUNED = {"hf-masked": ("v", "masks only"), "ltp": ("o", "packed"), "ltp-bf16": ("^", "packed bf16"),
          "ltp-onnx": ("s", "ONNX"), "ltp-onnx-int8": ("D", "ONNX int8")}  # fmt: skip
# Lines of the figures over batch size and length: colour, marker, line style.
LINES = {
    "hf-padded": ("#CC79A7", "x", (0, (1, 1.2))),
    "hf-dynamic": (THEIRS, "v", (0, (4, 1.5))),
    "hf-sorted": (THEIRS, "^", "-"),
    "onnx-int8": ("#D55E00", "s", (0, (4, 1.5))),
    "ltp-dense": (DENSE, "D", "-"),
    "ltp": (OURS, "o", "-"),
    "ltp-dense-bf16": (DENSE, "D", (0, (1, 1.2))),
    "ltp-bf16": (OURS, "o", (0, (1, 1.2))),
    "ltp-onnx-int8": ("#D55E00", "o", "-"),
}


def write_speed_plots(path: str | Path) -> list[Path]:
    """Draw what a speed.csv holds into ``plots/`` beside it; returns the files written.

    speed-vs-flops, and for each model and text speed-latency (batch 1), speed-batch (several batch sizes) and
    speed-length (text cut to several lengths), where the table has them. Raises LTPError for a damaged table.
    """
    from matplotlib import rc_context

    path = Path(path)
    rows, folder = read_speed(path), path.parent / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with rc_context(STYLE):
        if any(row["backend"] in PRUNED and row["unpruned"] for row in rows):
            written += _save(reduction_figure(rows), folder / "speed-vs-flops")
        for (model, text), group in _grouped(rows, "model", "text"):
            title = f"{model} on {text}"
            compared, group = group, _one_method(group)
            uncut = [row for row in compared if row["cut"] == "false"]
            for (limit,), members in _grouped(uncut, "max_length"):
                name = f"{_file_name(model)}-{text}-{limit}"
                heading = f"{title}, {float(members[0]['mean_tokens']):.0f} tokens"
                single = [row for row in members if row["batch"] == "1"]
                if single:
                    written += _save(latency_figure(single, heading), folder / f"speed-latency-{name}")
                if len({row["batch"] for row in members}) > 1:
                    written += _save(batch_figure(_one_method(members), heading), folder / f"speed-batch-{name}")
            for size, members in _grouped([row for row in group if row["cut"] == "true"], "batch"):
                if len({row["max_length"] for row in members}) > 1:
                    figure = length_figure(members, f"{title}, batch {size[0]}")
                    written += _save(figure, folder / f"speed-length-{_file_name(model)}-{text}-batch{size[0]}")
    return written


def _file_name(model: str) -> str:
    """An encoder's name or folder without slashes."""
    return model.strip("/").replace("/", "-")


def _grouped(rows: Sequence[Row], *keys: str) -> list[tuple[tuple[str, ...], list[Row]]]:
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return list(groups.items())


def _one_method(rows: Sequence[Row]) -> list[Row]:
    """The rows that do not prune, and those of the first method that does: a line for each backend."""
    first = next((row["method"] for row in rows if row["method"] != METHODS[0]), METHODS[0])
    return [row for row in rows if row["method"] in (METHODS[0], first)]


def reduction_figure(rows: Sequence[Row]) -> Figure:
    """Speed-up by pruning against FLOPs reduction; filled markers at batch 1, open ones in larger batches."""
    figure, axes = _figure()
    points = [row for row in rows if row["backend"] in PRUNED and row["unpruned"]]
    for name, (marker, label) in PRUNED.items():
        members = [row for row in points if row["backend"] == name]
        for single in (True, False):
            some = [row for row in members if (row["batch"] == "1") == single]
            xs, ys = ([float(row[key]) for row in some] for key in ("flops_reduction", "speedup_over_unpruned"))
            colour = THEIRS if name == "hf-masked" else OURS if "int8" not in name else "#D55E00"
            axes.plot(xs, ys, ls="none", marker=marker, color=colour, mfc=colour if single else "white", mew=0.8)
        if members:
            axes.plot([], [], ls="none", marker=marker, color=colour, label=label)
    top = 1.05 * max(float(row[key]) for row in points for key in ("flops_reduction", "speedup_over_unpruned"))
    axes.plot([1, top], [1, top], color=DENSE, lw=0.8, label="speed-up = FLOPs reduction")
    axes.set_xlabel("FLOPs unpruned / pruned")
    axes.set_ylabel("Speed-up over unpruned")
    axes.plot([], [], ls="none", marker="o", color="#555555", mfc="white", mew=0.8, label="open: batch > 1")
    _legend(figure, axes)
    return figure


def latency_figure(rows: Sequence[Row], title: str) -> Figure:
    """Time of one sentence, a bar for each backend, from the fastest to the slowest pass a line."""
    figure, axes = _figure(0.24 * len(rows) + 0.8, width=1.5 * WIDTH)
    middle = [float(row["median_ms"]) for row in rows]
    colours = [OURS if row["backend"].startswith("ltp") and row["unpruned"] else "#c4c4c4" for row in rows]
    axes.barh(range(len(rows)), middle, color=colours, height=0.7)
    spread = [
        [time - float(row["min_ms"]) for time, row in zip(middle, rows, strict=True)],
        [float(row["max_ms"]) - time for time, row in zip(middle, rows, strict=True)],
    ]
    axes.errorbar(middle, range(len(rows)), xerr=spread, ls="none", color="#333333", elinewidth=0.7, capsize=1.5)
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlabel("Latency of a text (ms; blue: tokens removed)")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=axes.title.get_fontsize())  # as wide as it is
    return figure


def batch_figure(rows: Sequence[Row], title: str) -> Figure:
    """Sentences a second against batch size."""
    figure, axes = _lines(rows, title, "batch", lambda row: float(row["examples_per_second"]))
    axes.set_xlabel("Batch size")
    axes.set_ylabel("Sentences a second")
    axes.set_ylim(bottom=0)
    return figure


def length_figure(rows: Sequence[Row], title: str) -> Figure:
    """Time of a sentence against its length, both logarithmic."""
    from matplotlib.ticker import LogLocator

    figure, axes = _lines(rows, title, "max_length", lambda row: 1000 / float(row["examples_per_second"]))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("Text length (tokens)")
    axes.set_ylabel("Latency of a text (ms)")
    return figure


def _lines(rows: Sequence[Row], title: str, key: str, value: Callable[[Row], float]) -> tuple[Figure, Axes]:
    figure, axes = _figure(3.3)
    axes.set_xscale("log", base=2)
    for name, (colour, marker, dash) in LINES.items():
        members = sorted((row for row in rows if row["backend"] == name), key=lambda row: int(row[key]))
        if members:
            xs, ys = [int(row[key]) for row in members], [value(row) for row in members]
            axes.plot(xs, ys, color=colour, marker=marker, ls=dash, ms=3.5, label=members[0]["title"])
    ticks = sorted({int(row[key]) for row in rows})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title(title, loc="left", fontweight="bold", pad=4)
    _legend(figure, axes, columns=1)
    return figure, axes


def _figure(height: float = 2.95, width: float = WIDTH) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _legend(figure: Figure, axes: Axes, columns: int = 2) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, handlelength=2.6)


def _save(figure: Figure, stem: Path) -> list[Path]:
    written = []
    for kind, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": "ltp"})):
        target = stem.with_name(stem.name + kind)
        figure.savefig(target, dpi=DPI, metadata=metadata)
        written.append(target)
    return written
