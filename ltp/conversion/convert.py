"""Base checkpoint → checkpoint that prunes: another config, thresholds beside the same weights."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

from ltp.common.errors import LTPError
from ltp.conversion.original import convert_original, is_original
from ltp.results.checkpoint import WEIGHTS, check_checkpoint, safetensors_header
from ltp.results.manifest import METRICS, write_manifest
from ltp.results.run import read_metrics
from ltp.results.verify import verify_run
from ltp.settings.pruning import PruningSettings

CONVERSION = "conversion.json"
THRESHOLDS = "threshold_deltas"
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


def convert(checkpoint: str | Path, output: str | Path, pruning: PruningSettings) -> dict:
    """Write a pruning model into ``output`` from a fine-tuned BERT or RoBERTa classifier, or one of the original LTP.

    Every weight keeps its name and its bytes; the ``absolute_threshold`` mode adds ``threshold_deltas``, zeros.
    conversion.json is written last; returns what it holds. Where ``checkpoint`` is a run that diverged, only that
    record is written. Raises LTPError for a checkpoint that cannot be used.
    """
    checkpoint, output = Path(checkpoint), Path(output)
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
            config, pruning = convert_original(checkpoint, output / WEIGHTS, pruning, THRESHOLDS)
            record["pruning"] = vars(pruning)
        else:
            config = check_checkpoint(checkpoint)
            _write_weights(checkpoint / WEIGHTS, output / WEIGHTS, config["num_hidden_layers"], pruning)
        keys = json.dumps(pruning.added_to(config), indent=2, sort_keys=True)
        (output / "config.json").write_text(keys + "\n", encoding="utf-8")
        for name in _TOKENIZER:
            if (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, output / name)
    return write_manifest(output / CONVERSION, "conversion", record)


def _write_weights(source: Path, target: Path, layers: int, pruning: PruningSettings) -> None:
    """Copy a safetensors file as it is, with zero thresholds as one more tensor at its end where the mode has them.

    The format is a header's length (8 bytes), the header as JSON, then all tensors' bytes: none of them moves.
    """
    header = {"__metadata__": {"format": "pt"}, **safetensors_header(source)}
    with source.open("rb") as read, target.open("wb") as write:
        start = 8 + struct.unpack("<Q", read.read(8))[0]
        zeros = b""
        if pruning.prune_mode == "absolute_threshold":
            zeros, end = bytes(4 * layers), source.stat().st_size - start
            header[THRESHOLDS] = {"dtype": "F32", "shape": [layers], "data_offsets": [end, end + len(zeros)]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        write.write(struct.pack("<Q", len(text)) + text)
        read.seek(start)
        shutil.copyfileobj(read, write)
        write.write(zeros)
