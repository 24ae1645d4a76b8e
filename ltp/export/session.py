"""ONNX files in ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def session(model: str | Path | bytes, threads: int = 0) -> Any:
    """A session of a file, or of a serialised model; ``threads`` 0 leaves their number to the runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_session(runtime: Any, batch: Mapping[str, Tensor], names: Sequence[str] | None = None) -> list[np.ndarray]:
    """The outputs, or those of ``names``, for a padded batch of tensors; a missing ``token_type_ids`` is zeros."""
    zeros = torch.zeros_like(batch["input_ids"])
    return runtime.run(names, {item.name: batch.get(item.name, zeros).numpy() for item in runtime.get_inputs()})
