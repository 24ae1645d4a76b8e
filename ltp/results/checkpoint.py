"""Is this folder a checkpoint that can be used? Decided by its config and the header of its weights.

Weights are read from safetensors only: a pickle can run code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.io import canonical_sha256, file_sha256, first_line
from ltp.results.encoders import ENCODERS, config_value, encoder_type

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
# Rows are the labels, of sentences or tokens: most architectures have BERT's name. The last is of answers.
CLASSIFIERS = ("classifier.weight", "classifier.out_proj.weight")
HEAD_WEIGHTS = (*CLASSIFIERS, "qa_outputs.weight")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json")  # one of them makes a tokenizer
_MAX_HEADER = 100_000_000  # bytes; the format's own limit


def read_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's config.json. Raises LTPError where the folder, the file or its JSON is missing or broken."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise LTPError(
            f"model: {folder} is not there; expected a checkpoint folder with config.json and {WEIGHTS}, or the name "
            "of a packaged or Hub model"
        )
    if not path.is_file():
        raise LTPError(f"{path}: not there; expected a checkpoint saved with save_pretrained")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise LTPError(f"{path}: not readable as JSON ({first_line(error)}); save the checkpoint anew") from None
    if not isinstance(config, dict):
        raise LTPError(f"{path}: not a JSON object; save the checkpoint anew")
    return config


def check_checkpoint(folder: Path, *, weights: bool = True) -> dict[str, Any]:
    """Check a base encoder's checkpoint and return its config. Raises LTPError for anything that would fail later.

    ``weights=False`` checks only what the tokenizer needs.
    """
    folder = Path(folder)
    config = read_config(folder)
    model_type = config.get("model_type")
    if model_type not in ENCODERS:
        raise LTPError(f"{folder / 'config.json'}: model_type is {model_type!r}; supported: {', '.join(ENCODERS)}")
    require_tokenizer(folder)
    if weights:
        _check_weights(folder, config)
    return config


def require_tokenizer(folder: Path) -> None:
    """Raise LTPError where a checkpoint has no file with a tokenizer: the library would make up an empty one."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise LTPError(f"{folder}: no tokenizer; expected {' or '.join(_TOKENIZERS)}; save the tokenizer there too")


def positions(config: Mapping[str, Any]) -> int:
    """Longest sequence, in tokens, that a checkpoint of this config takes."""
    rows = int(config.get("max_position_embeddings") or 512)
    # RoBERTa counts its positions from padding_idx + 1, so that many rows are never used.
    encoder = ENCODERS.get(encoder_type(config) or "")
    return rows - int(config.get("pad_token_id", 1)) - 1 if encoder and encoder.padded_positions else rows


def safetensors_header(path: Path) -> dict[str, Any]:
    """Name → {dtype, shape, data_offsets} of a safetensors file, whose length is checked against them.

    Format: https://github.com/huggingface/safetensors#format. Raises LTPError for a truncated file or another format.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size - 8, _MAX_HEADER):
                raise ValueError("its header does not fit the file")
            header: dict[str, Any] = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise LTPError(
            f"{path}: truncated or no safetensors file ({first_line(error)}); fetch or save it anew"
        ) from None
    if end != size:
        raise LTPError(f"{path}: {size} bytes, but its header speaks of {end}; truncated, fetch or save it anew")
    return header


def weights_sha256(folder: Path) -> str:
    """The sha256 of a checkpoint's weights: of the one file, or of the checksums of all shards. Raises LTPError."""
    checksums = {name: file_sha256(folder / name) for name in _weight_files(folder)}
    return checksums[WEIGHTS] if list(checksums) == [WEIGHTS] else canonical_sha256(checksums)


def checkpoint_files(folder: Path, *, weights: bool = True) -> list[Path]:
    """The files of a checkpoint that are read: config, tokenizer and, unless left out, weights. Raises LTPError."""
    names = ["config.json", *TOKENIZER_FILES]
    if weights:
        names += _weight_files(folder)
        names += [] if WEIGHTS in names else [WEIGHTS_INDEX]
    return [folder / name for name in names if (folder / name).is_file()]


def _weight_files(folder: Path) -> list[str]:
    """Names of the files that hold a checkpoint's weights. LTPError where there are none, or only a pickle."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / WEIGHTS_INDEX).is_file():
        return _shards(folder / WEIGHTS_INDEX)
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    hint = f"{pickles[0]} is a pickle, which is not read; save with safe_serialization" if pickles else "expected it"
    raise LTPError(f"{folder}: no {WEIGHTS}; {hint}")


def weight_shapes(folder: Path) -> dict[str, list[int]]:
    """Name → shape of a checkpoint's weights. LTPError where they are missing, cut, or there only as a pickle."""
    shapes: dict[str, list[int]] = {}
    for name in _weight_files(folder):
        if not (folder / name).is_file():
            raise LTPError(f"{folder / name}: not there, but {WEIGHTS_INDEX} names it; fetch the checkpoint anew")
        shapes |= {key: entry["shape"] for key, entry in safetensors_header(folder / name).items()}
    return shapes


def _check_weights(folder: Path, config: Mapping[str, Any]) -> None:
    """The weights are there, complete, and of the shape and depth that the config states."""
    shapes = weight_shapes(folder)
    encoder = ENCODERS[config["model_type"]]
    embeddings = next((key for key in shapes if key.endswith(encoder.words)), None)
    expected = [config.get("vocab_size"), config.get(encoder.word_size) or config_value(config, "hidden_size")]
    if embeddings is None or shapes[embeddings] != expected:
        found = "none" if embeddings is None else shapes[embeddings]
        raise LTPError(
            f"{folder}: word embeddings {found}, expected {expected} by config.json; not a matching checkpoint"
        )
    last = int(config_value(config, "num_hidden_layers") or 0) - 1
    if not any(key.endswith(encoder.layer.format(last)) for key in shapes):
        raise LTPError(f"{folder}: weights of layer {last + 1} of {last + 1} are missing; not a matching checkpoint")


def _shards(index: Path) -> list[str]:
    """File names in a sharded checkpoint's index; only plain names, so that an index cannot point elsewhere."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("weight_map must name files of the same folder")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LTPError(f"{index}: not readable as an index of weights ({first_line(error)})") from None
    return names
