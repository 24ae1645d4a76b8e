"""How much text a task has: as prepared, else as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ltp.common.errors import LTPError
from ltp.grid.grid import Grid
from ltp.results.dataset import read_info
from ltp.settings.data import DataSettings

# Training examples, mean word pieces of the training text (special tokens included) and validation examples of a task,
# used until its data are prepared. GLUE's sizes are the benchmark's own; the lengths are rounded.
KNOWN_SIZES: dict[str, tuple[int, int, int | None]] = {
    "rte": (2_490, 70, 277),
    "mrpc": (3_668, 53, 408),
    "stsb": (5_749, 31, 1_500),
    "cola": (8_551, 12, 1_043),
    "sst2": (67_349, 13, 872),
    "qnli": (104_743, 50, 5_463),
    "qqp": (363_846, 31, 40_430),
    "mnli": (392_702, 39, 9_815),
    "rotten_tomatoes": (8_530, 27, None),
    "imdb": (24_904, 290, None),
    "bbc_news": (2_125, 460, None),
    "conll2003": (14_041, 20, 3_250),
    "squad_v2": (130_319, 170, 11_873),
}


@dataclass(frozen=True)
class Size:
    """The size of a task's data; a number of examples is None where it is unknown until the data are prepared."""

    examples: int | None  # of the training split
    mean_length: float  # word pieces
    measured: bool  # read from the prepared data, not assumed
    validation_examples: int | None

    @property
    def tokens(self) -> float | None:
        """Tokens in one pass."""
        return None if self.examples is None else self.examples * self.mean_length


def task_size(results_dir: str, settings: DataSettings) -> Size:
    """The size of a task's data: measured where they are prepared, else as known of the task."""
    known, length, validation = KNOWN_SIZES.get(settings.text, (None, settings.max_length, None))
    mean_length: float = min(length, settings.max_length)
    asked = settings.validation_examples
    if settings.source == "packaged" and known:  # not split yet; by default a tenth each is held out
        tenth = known // 10
        validation = tenth if asked is None else asked
        test = tenth if settings.test_examples is None else settings.test_examples
        if validation + test >= known:
            raise LTPError(
                f"tasks.{settings.task}.data: validation_examples {validation:,} and test_examples {test:,} leave none "
                f"of the {known:,} packaged examples to train on; choose fewer"
            )
        known -= validation + test
    elif validation is None or settings.test == "split":
        validation = asked
    else:
        available = validation // 2 if settings.test in (None, "half") else validation
        validation = available if asked is None else min(asked, available)
    try:
        info = read_info(Path(results_dir, settings.task, "data"))
        known, mean_length, measured = info["examples"]["train"], info["mean_length"]["train"], True
        validation = info["examples"]["validation"]
    except (LTPError, OSError, KeyError, TypeError):
        measured = False
    asked = settings.train_examples
    examples = known if asked is None else asked if known is None else min(asked, known)
    return Size(examples, mean_length, measured, validation)


def task_sizes(grid: Grid) -> dict[str, Size]:
    """The size of every task of a grid."""
    return {name: task_size(grid.results_dir, task["data"]) for name, task in grid.config.tasks.items()}
