"""OpenVINO's runtime, unpruned: torch's ONNX export of the Hugging Face model in 32, 16 and 8 bits.

In 8 bits the graph is quantised as OpenVINO's users do it: statically by nncf, on sentences of the training text. It
runs ONNX Runtime's 8-bit file too, but does not fuse its operators: slower than 32 bits.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltp.common.errors import LTPError, missing_package

SAMPLES = 128  # sentences that ranges are measured on


def require_openvino(int8: bool = False) -> None:
    """Raise LTPError unless the packages are installed; ``int8`` needs nncf too."""
    for name in ("openvino", *(["nncf"] if int8 else [])):
        if importlib.util.find_spec(name) is None:
            raise missing_package("openvino", name, "openvino")


def compiled(onnx_file: Path, weights: str, threads: int, text: Sequence[Mapping[str, Tensor]]) -> Any:
    """A function from a padded batch to logits (B, C); ``weights`` is float32, bfloat16 or int8.

    ``text``, padded batches, is what 8-bit ranges are measured on. Raises LTPError where there is none.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(onnx_file)
    names = [item.get_any_name() for item in model.inputs]
    if weights == "int8":
        model = _quantised(model, names, text)
    options = {
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": "bf16" if weights == "bfloat16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    program = core.compile_model(model, "CPU", options)
    return lambda batch: np.array(program(_arrays(names, batch))[0])  # a copy: the next call writes over the original


def _quantised(model: Any, names: Sequence[str], text: Sequence[Mapping[str, Tensor]]) -> Any:
    import logging

    import nncf

    if not text:
        raise LTPError("openvino int8: no text to measure ranges on")
    nncf.set_log_level(logging.ERROR)
    sentences = [
        {name: values[row : row + 1] for name, values in batch.items()}
        for batch in text for row in range(len(batch["input_ids"]))
    ][:SAMPLES]  # fmt: skip
    data = nncf.Dataset([_arrays(names, sentence) for sentence in sentences])
    return nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(sentences))


def _arrays(names: Sequence[str], batch: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    zeros = torch.zeros_like(batch["input_ids"])
    return {name: batch.get(name, zeros).numpy() for name in names}
