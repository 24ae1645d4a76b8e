"""A checkpoint trained with the original LTP code → the weights and config of a model here that prunes the same.

The original (https://github.com/kssteven418/LTP) builds on I-BERT: RoBERTa's layers under the name ``ibert``, with the
buffers of an integer-only mode that is off, and a 0-dimensional ``keep_threshold`` δ in each layer. It counts layers
from 0, θ_l = final_token_threshold · l/L + δ_l, and prunes no token in a layer with θ_l = 0; here they count from 1.
``threshold_deltas`` are chosen so that the thresholds, and with them the tokens pruned, are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ltp.common.errors import LTPError
from ltp.conversion.weights import tensor_bytes, write_weights
from ltp.results.checkpoint import WEIGHTS, read_config, safetensors_header
from ltp.settings.pruning import SALIENCY, SMALLEST_THRESHOLD, THRESHOLDS, PruningSettings, probe_shape

MODEL_TYPES = ("ltp", "ibert", "pibert")  # those of the original, of its encoder, and of its early versions
HOW_TO = "docs/from-the-original.md shows how to save it anew"

# Keys of its config.json that are not the encoder's, and those that building the model needs.
_OWN_KEYS = ("quant_mode", "force_dequant", "prune_kwargs", "token_threshold", "model_type", "architectures")
_NEEDED = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings",
)  # fmt: skip
# prune_mode -> (key of its config.json, our setting)
_STRENGTH = {
    "absolute_threshold": ("final_token_threshold", "final_token_threshold"),
    "threshold": ("token_threshold", "final_token_threshold"),
    "topk": ("token_keep_rate", "token_keep_rate"),
}

_WORDS = "roberta.embeddings.word_embeddings.weight"
_EMBEDDINGS = ("word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight")
_DENSE = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm",
)  # fmt: skip


def is_original(folder: Path) -> bool:
    """Whether a checkpoint comes from the original code, or is the I-BERT encoder that it starts from."""
    config = read_config(folder)
    return config.get("model_type") in MODEL_TYPES and "base_model_type" not in config


def convert_original(folder: Path, target: Path, given: PruningSettings) -> tuple[dict[str, Any], PruningSettings]:
    """Write the weights of the checkpoint in ``folder`` to ``target``, their bytes as they are, under our names.

    Returns the encoder's configuration, as that of a RoBERTa, and how the checkpoint prunes: a ``prune_mode`` in its
    config.json, with its strength, takes precedence over ``given``, which must not contradict it. Raises LTPError for
    whatever is missing, pickled, or cannot be converted.
    """
    where, config = folder / "config.json", read_config(folder)
    if missing := [key for key in _NEEDED if key not in config]:
        raise LTPError(f"{where}: lacks {_some(missing)}; expected the file that was saved with the weights")
    if config.get("quant_mode"):
        raise LTPError(f"{where}: quant_mode is on; integer-only models do not convert, expected one in floating point")
    pruning, learned = _pruning(where, config, given)
    source, layers = folder / WEIGHTS, config["num_hidden_layers"]
    if not source.is_file():
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        hint = f"{pickles[0]} is a pickle, which can run code and is not read; {HOW_TO}" if pickles else "expected it"
        raise LTPError(f"{folder}: no {WEIGHTS}; {hint}")
    header, names = safetensors_header(source), _weight_names(layers)
    if missing := [name for name in names.values() if name not in header]:
        raise LTPError(f"{source}: lacks {_some(missing)}; expected all weights of the original's {layers} layers")
    words, expected = header[names[_WORDS]]["shape"], [config["vocab_size"], config["hidden_size"]]
    if words != expected:
        raise LTPError(f"{source}: word embeddings {words}, expected {expected} by config.json")
    deltas = None
    if learned:
        deltas = _learned_deltas(source, header, layers)
    added = {}
    if pruning.prune_mode == "absolute_threshold":
        added[THRESHOLDS] = threshold_deltas(pruning.final_token_threshold, deltas, layers)
    if pruning.scoring_mode == "saliency":
        added[SALIENCY] = np.zeros(probe_shape(layers, config["hidden_size"]), np.float32)
    write_weights(source, target, names, added)
    encoder = {key: value for key, value in config.items() if key not in (*_OWN_KEYS, *vars(pruning))}
    return {**encoder, "model_type": "roberta"}, pruning


def _pruning(where: Path, config: Mapping[str, Any], given: PruningSettings) -> tuple[PruningSettings, bool]:
    """How the checkpoint prunes, and whether it has learned thresholds of its own."""
    mode = config.get("prune_mode")
    if mode is None or mode == "none":
        return given, False
    if mode not in _STRENGTH:
        raise LTPError(
            f"{where}: prune_mode is {mode!r}; expected one of {', '.join(_STRENGTH)}, which the original can build"
        )
    own = {**(config.get("prune_kwargs") or {}), **config}  # as in the original, top-level keys take precedence
    key, setting = _STRENGTH[mode]
    if key not in own:
        raise LTPError(f"{where}: lacks {key}, which prune_mode {mode} needs")
    found = {"prune_mode": mode, setting: own[key]}
    if mode == "absolute_threshold":
        found["scoring_mode"] = own.get("scoring_mode", "mean")
    default = {field.name: field.default for field in fields(PruningSettings)}
    for name, value in found.items():
        if getattr(given, name) not in (default[name], value):
            raise LTPError(
                f"{name}: {getattr(given, name)} asked for, but {where.parent} was trained with {value}; leave it out"
            )
    try:
        return replace(given, **found), mode == "absolute_threshold"
    except LTPError as error:
        raise LTPError(f"{where}: {error}") from None


def _weight_names(layers: int) -> dict[str, str]:
    """Our name of each tensor that a RoBERTa classifier needs → the original's."""
    names = [f"embeddings.{name}" for name in (*_EMBEDDINGS, "LayerNorm.weight", "LayerNorm.bias")]
    parts = ("weight", "bias")
    names += [f"encoder.layer.{layer}.{name}.{part}" for layer in range(layers) for name in _DENSE for part in parts]
    head = [f"classifier.{name}.{part}" for name in ("dense", "out_proj") for part in parts]
    return {f"roberta.{name}": f"ibert.{name}" for name in names} | {name: name for name in head}


def _learned_deltas(source: Path, header: Mapping[str, Any], layers: int) -> list[float]:
    """The δ of each layer."""
    names = [f"ibert.encoder.layer.{layer}.attention.self.pruner.keep_threshold" for layer in range(layers)]
    if missing := [name for name in names if name not in header]:
        raise LTPError(
            f"{source}: lacks {_some(missing)}; expected one in each of the {layers} layers; if it has not learned to "
            "prune yet, remove prune_mode from its config.json"
        )
    deltas = []
    for name in names:
        entry = header[name]
        kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}.get(entry["dtype"])
        if kind is None or math.prod(entry["shape"]) != 1:
            raise LTPError(f"{source}: {name} is {entry['dtype']} {entry['shape']}, expected one number")
        (delta,) = np.frombuffer(tensor_bytes(source, entry), dtype=kind)
        if not np.isfinite(delta):
            raise LTPError(f"{source}: {name} is {delta}; expected a number: its training diverged")
        deltas.append(float(delta))
    return deltas


def threshold_deltas(final: float, learned: list[float] | None, layers: int) -> np.ndarray:
    """(L,) float32: what must be added to ``final`` · (l+1)/L, l from 0, to get the thresholds of the original.

    Those are ``final`` · l/L + δ_l, δ_l in ``learned``; a layer whose threshold is 0 prunes nothing, and any other
    below SMALLEST_THRESHOLD counts as that. Without ``learned`` all zeros: nothing has been learned yet.
    """
    if learned is None:
        return np.zeros(layers, dtype=np.float32)
    deltas = []
    for layer, delta in enumerate(learned):
        wanted = np.float32(final * layer / layers) + np.float32(delta)  # in single precision, as in the original
        if wanted != 0:
            wanted = max(wanted, np.float32(SMALLEST_THRESHOLD))
        rising = np.float32(final * (layer + 1) / layers)
        # The difference is rounded: of it and its two neighbrising, the one that gives the closest sum is taken.
        nearest = np.float32(float(wanted) - float(rising))
        near = (nearest, np.nextafter(nearest, np.float32(-1)), np.nextafter(nearest, np.float32(1)))
        deltas.append(min(near, key=lambda value: abs(float(np.float32(rising + value)) - float(wanted))))
    return np.array(deltas, dtype=np.float32)


def _some(names: list[str]) -> str:
    """The first of many names."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
