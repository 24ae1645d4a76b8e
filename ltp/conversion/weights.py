"""Tensors copied from one safetensors file to another, byte for byte.

The format (https://github.com/huggingface/safetensors#format) is the header's length (8 bytes, little endian), the
header as JSON, then the bytes of all tensors in a row.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ltp.results.checkpoint import safetensors_header


def write_weights(source: Path, target: Path, names: Mapping[str, str], added: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file of tensors from ``source`` and of new ones.

    ``names`` maps a tensor's name in ``target`` to its name in ``source``, in the order of the new file; ``added`` are
    more tensors, of any shape, stored after them as float32. Raises LTPError for a ``source`` that is truncated.
    """
    header = safetensors_header(source)
    written: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, original in names.items():
        begin, stop = header[original]["data_offsets"]
        written[name] = {**header[original], "data_offsets": [end, end + stop - begin]}
        end += stop - begin
    new = {name: values.astype("<f4") for name, values in added.items()}
    for name, values in new.items():
        written[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(written, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with target.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for original in names.values():
            stream.write(tensor_bytes(source, header[original]))
        for values in new.values():
            stream.write(values.tobytes())


def tensor_bytes(path: Path, entry: Mapping[str, Any]) -> bytes:
    """The bytes of one tensor of a safetensors file, given its entry in the file's header."""
    begin, end = entry["data_offsets"]
    with path.open("rb") as stream:
        start = 8 + struct.unpack("<Q", stream.read(8))[0]
        stream.seek(start + begin)
        return stream.read(end - begin)
