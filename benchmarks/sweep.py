"""The fastest unpruned and the fastest pruned way to run a model, at each length and batch size -> CSV.

    python benchmarks/sweep.py SPEED... --output docs/data/speed-sweep.csv

SPEED are tables that `ltp benchmark` wrote, with --lengths. Speed-ups are over the Hugging Face model padded to the
batch; the last column is the quotient of both, above 1.00 where pruning pays against the best that there is without.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd


def condense(speed: pd.DataFrame) -> pd.DataFrame:
    """One row a length and batch size."""
    rows = []
    for (tokens, batch), group in speed.groupby(["mean_tokens", "batch"]):
        best = {}
        unpruned = group["method"] == "dense"
        others = ~group["backend"].str.startswith("ltp-dense")  # what a user has without this package
        for kind, part in (("unpruned", group[unpruned & others]), ("pruned", group[~unpruned])):
            row = part.loc[part["speedup"].idxmax()]
            best[kind] = row["speedup"]
            best[f"{kind} by"] = row["title"]
        rows.append(
            {
                "tokens": f"{tokens:.0f}",
                "batch": str(batch),
                "fastest unpruned": f"{best['unpruned']:.2f} ({best['unpruned by']})",
                "fastest pruned": f"{best['pruned']:.2f} ({best['pruned by']})",
                "pruned over unpruned": f"{best['pruned'] / best['unpruned']:.2f}",
                **{key: group[key].iloc[0] for key in ("commit", "machine", "date")},
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Read the tables, write the condensed one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("tables", metavar="SPEED", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    condensed = condense(pd.concat([pd.read_csv(path) for path in options.tables]))
    condensed.to_csv(options.output, index=False, lineterminator="\n")
    print(condensed.to_string(index=False))


if __name__ == "__main__":
    main()
