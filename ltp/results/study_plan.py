"""The list of a study's runs, which the workflow leaves in the folder of results when it starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ltp.common.errors import LTPError
from ltp.common.io import shown

PLAN = ".progress.json"  # written by ltp.grid.progress


def planned_runs(results: str | os.PathLike[str]) -> list[Path] | None:
    """The directories of the runs that the study in this folder asks for; None where no workflow has started in it.

    Raises LTPError for a damaged plan.
    """
    path = Path(results, PLAN)
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return [path.parent / name for name in dict(runs)]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LTPError(f"{shown(path)}: cannot be read ({error.strerror}); check its permissions") from None
    except (ValueError, KeyError, TypeError):
        raise LTPError(f"{shown(path)}: is damaged; run snakemake again, which writes it when it starts") from None
