"""Base checkpoint → checkpoint that prunes: another config, and thresholds added to the same weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ltp.common.errors import LTPError
from ltp.conversion.original import convert_original, is_original
from ltp.conversion.weights import write_weights
from ltp.results.checkpoint import HEAD_WEIGHTS, TOKENIZER_FILES, WEIGHTS, check_checkpoint, safetensors_header
from ltp.results.encoders import config_value
from ltp.results.manifest import CONVERSION, METRICS, write_manifest
from ltp.results.run import read_metrics
from ltp.results.verify import verify_run
from ltp.settings.pruning import SALIENCY, THRESHOLDS, PruningSettings, probe_shape


def convert(checkpoint: str | Path, output: str | Path, pruning: PruningSettings) -> dict[str, Any]:
    """Write a pruning model into ``output`` from a fine-tuned classifier, or one of the original LTP.

    Every weight keeps its name and its bytes; the ``absolute_threshold`` mode adds ``threshold_deltas``: zeros, or
    where scores are relative to the sentence thresholds that drop nothing. The score ``saliency`` adds
    ``saliency_probes``: zeros, which `ltp train` replaces by what it fits. conversion.json is written last; returns
    what it holds. Where ``checkpoint`` is a run that diverged, only that record is written. Raises LTPError for a
    checkpoint that cannot be used.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    if checkpoint.exists() and output.exists() and output.samefile(checkpoint):
        raise LTPError(f"output: {output} is the checkpoint itself; choose another folder")
    record = {"status": "complete", "reason": None, "pruning": vars(pruning), "parent": None}
    if (checkpoint / METRICS).is_file():
        parent = read_metrics(checkpoint)
        if problems := verify_run(checkpoint):
            raise LTPError(problems[0])
        record["parent"] = {"path": str(checkpoint), "fingerprint": parent["fingerprint"]}
        if parent["status"] != "complete":
            record |= {"status": parent["status"], "reason": f"parent {checkpoint}: {parent['reason']}"}
    output.mkdir(parents=True, exist_ok=True)
    (output / CONVERSION).unlink(missing_ok=True)
    if record["status"] == "complete":
        if is_original(checkpoint):
            config, pruning = convert_original(checkpoint, output / WEIGHTS, pruning)
            record["pruning"] = vars(pruning)
        else:
            config = check_checkpoint(checkpoint)
            if not (checkpoint / WEIGHTS).is_file():
                raise LTPError(
                    f"{checkpoint}: weights in several files; expected {WEIGHTS}: save with a larger max_shard_size"
                )
            added = {}
            if pruning.prune_mode == "absolute_threshold":
                start = pruning.initial_thresholds(config_value(config, "num_hidden_layers"))
                added[THRESHOLDS] = np.array(start, np.float32)
            if pruning.scoring_mode == "saliency":
                sizes = [config_value(config, name) for name in ("num_hidden_layers", "hidden_size")]
                added[SALIENCY] = np.zeros(probe_shape(*sizes), np.float32)
            names = {name: name for name in safetensors_header(checkpoint / WEIGHTS)}
            if not names.keys() & set(HEAD_WEIGHTS):
                raise LTPError(
                    f"{checkpoint / WEIGHTS}: has none of {', '.join(HEAD_WEIGHTS)}; expected a model that was "
                    "fine-tuned, not an encoder alone"
                )
            write_weights(checkpoint / WEIGHTS, output / WEIGHTS, names, added)
        keys = json.dumps(pruning.added_to(config), indent=2, sort_keys=True)
        (output / "config.json").write_text(keys + "\n", encoding="utf-8")
        for name in TOKENIZER_FILES:
            if (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, output / name)
    return write_manifest(output / CONVERSION, "conversion", record)
