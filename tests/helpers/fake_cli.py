"""Stands in for ``python -m ltp`` in tests of the workflow: leaves behind in milliseconds what hours of work would.

``data``, ``convert``, ``train`` and ``explain`` are made up; all other commands are the real ones. A run whose
directory holds the text in the environment variable FAKE_CLI_FAILS fails, as a training on a full disk would.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import fake_study  # tests copy both files, this one into the package

from ltp.cli import plots, progress, report
from ltp.results.examples import write_examples
from ltp.results.manifest import write_manifest


def main() -> int:
    command, *rest = sys.argv[1:]
    if command in ("plots", "progress", "report"):
        module = {"plots": plots, "progress": progress, "report": report}[command]
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        return module.run(parser.parse_args(rest))

    if command == "explain":
        write_examples(Path(rest[-1]) / "examples.json", [], reason="made up")
        return 0

    flags = dict(part.removeprefix("--").split("=", 1) for part in rest if part.startswith("--") and "=" in part)
    output = Path(flags["output"])
    print(command, *rest)
    if os.environ.get("FAKE_CLI_FAILS", "nothing") in str(output):
        print(f"error: {output}: no space left; free some and run snakemake again")
        return 1
    if command == "data":
        output.mkdir(parents=True, exist_ok=True)
        info = {"schema": 1, "examples": {"train": 400, "validation": 100}, "mean_length": {"train": 20.0}}
        (output / "task.json").write_text(json.dumps(info))
    elif command == "convert":
        output.mkdir(parents=True, exist_ok=True)
        write_manifest(output / "conversion.json", "conversion", {})
    elif command == "train":
        wanted = ("temperature", "lambda", "flops_target", "learning_rate", "epochs")
        settings = {name: float(flags[key]) for name in wanted if (key := name.replace("_", "-")) in flags}
        relative = 1.0 if flags["method"] in ("dense", "dense+") else 0.6
        metrics = fake_study.metrics_of(
            flags["method"], flags["stage"], int(flags["seed"]), 0.8, relative, task=output.parts[-1], **settings
        )
        metrics["task"] = Path(flags["data"]).parent.name
        metrics["timing"]["total_seconds"] = 30.0
        if not (output / "metrics.json").exists():  # Snakemake removes it before a job, not its neighbours
            for left in output.glob("*"):
                left.unlink()
            output.rmdir() if output.exists() else None
        fake_study.write(output, metrics)
    return 0


if __name__ == "__main__":
    sys.exit(main())
