"""A trained model in other forms: a plain Hugging Face checkpoint, one ONNX file, the same in 8 bits.

An ONNX file is kept only if it answers as PyTorch does, on real sentences.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from ltp import data, runs
from ltp.errors import LTPError
from ltp.evaluation import load_pruned
from ltp.model import LTPForSequenceClassification
from ltp.trainer import Collator

ONNX, INT8 = "model.onnx", "model.int8.onnx"
CHECKED = 64  # sentences that an ONNX file must answer as PyTorch does
TOLERANCE = 1e-4  # of the logits
LARGEST = 2_000_000_000  # bytes; a file of ONNX's own holds no more than 2 GiB


def export(
    run: str | Path, output: str | Path, onnx: bool = False, int8: bool = False, plain: bool = False,
    data_dir: str | Path | None = None,
) -> list[str]:  # fmt: skip
    """Write the forms asked for, and the tokenizer, into ``output``; returns a line about each.

    ``plain``: the encoder without pruning, as its own Hugging Face class. ``onnx``: ONNX file that removes tokens.
    ``int8``: the same with linear layers in 8 bits. ``data_dir`` holds the sentences to check with; unset: the run's
    own, where they lie above it. Raises LTPError for what cannot be exported, and for an ONNX file that answers
    otherwise than PyTorch.
    """
    run, output = Path(run), Path(output)
    if not (onnx or int8 or plain):
        raise LTPError("export: nothing asked for; expected --onnx, --int8 or --plain")
    if run.resolve() == output.resolve():
        raise LTPError(f"output: {output} is the run itself; choose another folder")
    if onnx or int8:
        require_onnx()
    if (run / runs.METRICS).is_file():
        record = runs.read_metrics(run)
        if record["status"] != "complete":
            raise LTPError(f"{run}: {record['status']} ({record['reason']}), so there is no model to export")
        if problems := runs.verify_run(run):
            raise LTPError(problems[0])
    splits, info = data.load(data_dir or _own_data(run)) if onnx or int8 else ({}, None)
    model = load_pruned(run, info)
    output.mkdir(parents=True, exist_ok=True)
    told = []
    if plain:
        model.to_base().save_pretrained(output)
        told.append(f"{output}: a plain {model.config.base_model_type} checkpoint, without pruning")
    if onnx or int8:
        batches = list(_batches(splits, model.config.pad_token_id))
        for name, wanted in ((ONNX, onnx), (INT8, int8)):
            if wanted:
                told.append(_write(model, batches, output / name, name == INT8))
    _load_tokenizer(run).save_pretrained(output)
    return told


def require_onnx(exporter: bool = False) -> None:
    """Raise LTPError unless what writes and runs ONNX files is installed; torch's ``exporter`` needs one more."""
    for name in ("onnx", "onnxruntime", *(["onnxscript"] if exporter else [])):
        if importlib.util.find_spec(name) is None:
            raise LTPError(f"onnx: the package {name} is not installed; pip install 'ltp[onnx]'")


def save_onnx(model: LTPForSequenceClassification, path: Path, int8: bool = False) -> None:
    """Write a model as one ONNX file, unchecked; its labels stand in the metadata, as JSON under ``labels``."""
    import onnx

    from ltp.onnx_model import build

    if (size := sum(4 * weight.numel() for weight in model.parameters())) > LARGEST and not int8:
        raise LTPError(f"onnx: the weights take {size / 1e9:.1f} GB; one ONNX file holds 2 GB")
    proto = build(model, int8)
    labels = [model.config.id2label[index] for index in range(model.num_labels)]
    proto.metadata_props.add(key="labels", value=json.dumps(labels, ensure_ascii=False))
    part = path.with_name(path.name + ".part")
    onnx.save(proto, part)
    os.replace(part, path)


def session(path: str | Path, threads: int = 0) -> Any:
    """An ONNX Runtime session on the CPU; ``threads`` 0 leaves their number to the runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_session(runtime: Any, batch: dict[str, Any]) -> list[np.ndarray]:
    """The outputs for a padded batch of tensors; missing inputs, segments that is, are zeros."""
    zeros = torch.zeros_like(batch["input_ids"])
    return runtime.run(None, {item.name: batch.get(item.name, zeros).numpy() for item in runtime.get_inputs()})


def _write(model: LTPForSequenceClassification, batches: Sequence[dict], path: Path, int8: bool) -> str:
    """Write, check and, where it fails, remove an ONNX file; returns a line about it."""
    save_onnx(model, path, int8)
    try:
        runtime = session(path)
        found = [run_session(runtime, batch) for batch in batches]
        if int8:
            return _compare_int8(model, batches, found, path)
        return _compare(model, batches, found, path)
    except LTPError:
        path.unlink()
        raise


def _compare(model: LTPForSequenceClassification, batches: Sequence[dict], found: Sequence, path: Path) -> str:
    worst = 0.0
    for batch, (logits, attention_tokens, ffn_tokens) in zip(batches, found, strict=True):
        expected = _answer(model, batch)
        for mine, theirs in ((attention_tokens, expected.attention_tokens), (ffn_tokens, expected.ffn_tokens)):
            if not np.array_equal(mine, theirs.numpy()):
                other = int((mine != theirs.numpy()).any(1).sum())
                raise LTPError(f"{path}: keeps other tokens than PyTorch in {other} of {len(mine)} sentences; not kept")
        difference = float(np.abs(logits - expected.logits.numpy()).max())
        worst = max(worst, difference)
        if not difference <= TOLERANCE:  # nor may it be no number
            raise LTPError(f"{path}: logits {difference:.1e} from PyTorch's, expected at most {TOLERANCE:g}; not kept")
    sentences = sum(len(batch["input_ids"]) for batch in batches)
    return f"{path}: logits within {worst:.0e} of PyTorch's and the same tokens kept, on {sentences} sentences"


def _compare_int8(model: LTPForSequenceClassification, batches: Sequence[dict], found: Sequence, path: Path) -> str:
    """8 bits are another model: told is how far it agrees, and only nonsense is refused."""
    same, sentences, worst, tokens, expected_tokens = 0, 0, 0.0, 0, 0
    for batch, (logits, _, ffn_tokens) in zip(batches, found, strict=True):
        expected = _answer(model, batch)
        if not np.isfinite(logits).all():
            raise LTPError(f"{path}: gives outputs that are no numbers; not kept")
        same += int((logits.argmax(-1) == expected.logits.numpy().argmax(-1)).sum())
        worst = max(worst, float(np.abs(logits - expected.logits.numpy()).max()))
        sentences += len(logits)
        tokens, expected_tokens = tokens + int(ffn_tokens.sum()), expected_tokens + int(expected.ffn_tokens.sum())
    agreement = f"the same class in {same} of {sentences} sentences, " if model.num_labels > 1 else ""
    return (
        f"{path}: {agreement}logits within {worst:.2g} of PyTorch's, "
        f"{100 * tokens / expected_tokens:.1f} % of the tokens that it keeps"
    )


def _load_tokenizer(run: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(run, local_files_only=True)
    except (OSError, ValueError):
        raise LTPError(f"{run}: no tokenizer; expected tokenizer.json, which belongs to the model") from None


def _answer(model: LTPForSequenceClassification, batch: dict[str, torch.Tensor]) -> Any:
    with torch.inference_mode():
        return model(**batch)


def _batches(splits: dict[str, Any], pad_token_id: int) -> Iterator[dict[str, torch.Tensor]]:
    """Sentences of all lengths, one alone and eight at a time, short beside long."""
    split = splits.get("validation", splits["train"])
    rows = [split[int(index)] for index in np.linspace(0, len(split) - 1, min(CHECKED, len(split)))]
    collate = Collator(pad_token_id, regression=False)
    rest = [row for index, row in enumerate(rows) if index % 8]
    count = -(-len(rest) // 8)
    groups = [[row] for row in rows[::8]] + [rest[start::count] for start in range(count)]
    for group in groups:
        batch = collate([{**row, "labels": 0} for row in group])
        del batch["labels"]
        yield batch


def _own_data(run: Path) -> Path:
    """The data directory of a study's run: the nearest above it."""
    for folder in run.resolve().parents:
        if (folder / "data" / data.INFO).is_file():
            return folder / "data"
    raise LTPError(f"{run}: no data folder above it; give --data, a folder that `ltp data` wrote, to check with")
