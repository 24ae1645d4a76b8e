"""The tables of a study. A script, since ten thousand paths are too many for a command line."""
# ruff: noqa: F821 (Snakemake puts the object `snakemake` among a script's globals)

import sys
from pathlib import Path

from ltp.analysis.load import other_runs
from ltp.analysis.tables import write_tables
from ltp.common.errors import LTPError

with open(snakemake.log[0], "w", encoding="utf-8") as log:
    try:
        results = Path(snakemake.output.runs).parent
        problems = write_tables(snakemake.input.metrics, results)
        others = other_runs(results, snakemake.input.metrics)
    except LTPError as error:
        print(f"error: {error}", file=log)
        sys.exit(1)
    for problem in [*problems, *filter(None, [others])]:
        print(problem, file=log)
        print(problem, file=sys.stderr)
