"""Checkpoints as the original code leaves them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parents[1]
CASES = json.loads((HERE / "parity/cases.json").read_text())
DELTAS = {"abs_thr_0.04_deltaA_4l": [0.012, 0.006, -0.004, 0.002]}
PRUNED = [name for name, case in CASES["cases"].items() if case["mode"] == "eval" and case["prune_mode"]]
THRESHOLD = "ibert.encoder.layer.{}.attention.self.pruner.keep_threshold"
COUNTS = ("attention_sentence_lengths", "ffn_sentence_lengths")
CASE = "abs_thr_0.045_4l"


def original(folder: Path, name: str, **changes) -> Path:
    """A checkpoint as the original leaves it: its names, its unused buffers, its config.json. None takes a key out."""
    case = CASES["cases"][name]
    weights = load_file(HERE / f"parity/{case['weights']}.safetensors")
    layers = len(case["thresholds_per_layer"] or case["keep_rates_per_layer"])
    weights = {re.sub(r"^roberta\.", "ibert.", key): value for key, value in weights.items()}
    for key in [key for key in weights if key.endswith("dense.weight")]:
        weights[key + "_integer"] = np.zeros_like(weights[key])
        weights[key.replace(".weight", ".fc_scaling_factor")] = np.zeros(1, np.float32)
    weights["ibert.embeddings.LayerNorm.shift"] = np.zeros(1, np.float32)
    if case["prune_mode"] == "absolute_threshold":
        for layer, delta in enumerate(DELTAS.get(name, [0.0] * layers)):
            weights[THRESHOLD.format(layer)] = np.array(delta, np.float32)
    config = CASES["config"] | {
        "architectures": ["LTPForSequenceClassification"], "model_type": "ltp", "quant_mode": False,
        "num_hidden_layers": layers, "prune_mode": case["prune_mode"], **case["prune_kwargs"],
        "prune_kwargs": {**case["prune_kwargs"], "num_hidden_layers": layers},
    } | changes  # fmt: skip
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    save_file(weights, folder / "model.safetensors")
    return folder


def rewrite(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def lacks(*names):
    return lambda weights: [weights.pop(name) for name in names]
