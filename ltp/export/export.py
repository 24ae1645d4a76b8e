"""A trained model in other forms: a plain Hugging Face checkpoint, an ONNX file, an ONNX file with 8-bit weights.

An ONNX file is kept only if, on real sentences, it gives PyTorch's answers.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from ltp.common.errors import LTPError, missing_package
from ltp.export.session import run_session, session
from ltp.models import flops
from ltp.models.loading import load_pruned
from ltp.models.modeling import LTPForSequenceClassification, LTPPreTrainedModel
from ltp.models.output import LTPOutput
from ltp.results.dataset import data_above
from ltp.results.manifest import METRICS
from ltp.results.run import read_metrics
from ltp.results.verify import verify_run
from ltp.settings.pruning import head_of
from ltp.text.dataset import load
from ltp.text.tokenizer import check_tokenizer
from ltp.training.collator import Collator
from ltp.training.metrics import compute_metrics

ONNX, INT8 = "model.onnx", "model.int8.onnx"
CHECKED = 64  # sentences on which an ONNX file is compared with PyTorch
SCORED = 256  # sentences on which an 8-bit file, whose answers differ, is scored
CALIBRATED = 512  # sentences, of others than those, on which its thresholds are set
TOLERANCE = 1e-4  # largest difference of logits, as a share of the largest where that is above 1
MAX_BYTES = 2_000_000_000  # an ONNX file holds at most 2 GiB


def export(
    run: str | Path, output: str | Path, onnx: bool = False, int8: bool = False, plain: bool = False,
    data_dir: str | Path | None = None,
) -> list[str]:  # fmt: skip
    """Write the forms asked for, and the tokenizer, into ``output``; returns a line about each.

    ``plain``: the encoder without pruning, as its own Hugging Face class. ``onnx``: an ONNX file that removes tokens.
    ``int8``: the same with linear layers in 8 bits. ``data_dir`` is the data directory to check with; unset: that of
    the run's task. Raises LTPError for what cannot be exported, and for an ONNX file whose answers differ from
    PyTorch's.
    """
    run, output = Path(run), Path(output)
    if not (onnx or int8 or plain):
        raise LTPError("export: nothing asked for; expected --onnx, --int8 or --plain")
    if run.resolve() == output.resolve():
        raise LTPError(f"output: {output} is the run itself; choose another folder")
    if onnx or int8:
        require_onnx()
    if (run / METRICS).is_file():
        record = read_metrics(run)
        if record["status"] != "complete":
            raise LTPError(f"{run}: {record['status']} ({record['reason']}), so there is no model to export")
        if problems := verify_run(run):
            raise LTPError(problems[0])
    transformers_logging.disable_progress_bar()  # loading takes a moment
    data = (data_dir or _own_data(run)) if onnx or int8 else None
    splits, info = load(data) if data else ({}, None)
    model = load_pruned(run, info)
    if data:
        classifier = require_classifier(model, run, "ONNX files are made of")
        check_tokenizer(run, data, info)
    output.mkdir(parents=True, exist_ok=True)
    lines = []
    if plain:
        model.to_base().save_pretrained(output)
        lines.append(f"{output}: a plain {model.config.base_model_type} checkpoint, without pruning")
    if onnx or int8:
        split = splits.get("validation", splits["train"])
        if onnx:
            lines.append(_write(classifier, info, split, output / ONNX))
        if int8:
            text = calibration_batches(splits["train"], model.config.pad_token_id)
            lines.append(_write(classifier, info, split, output / INT8, text))
    _load_tokenizer(run).save_pretrained(output)
    return lines


def require_classifier(model: LTPPreTrainedModel, name: str | Path, what: str) -> LTPForSequenceClassification:
    """The model; LTPError for one whose head reads all tokens, with ``what`` only classifiers of sentences can do."""
    if not isinstance(model, LTPForSequenceClassification):
        head = head_of(model.config.to_dict())
        raise LTPError(f"{name}: is a model for {head}; {what} classifiers of sentences only; run it in PyTorch")
    return model


def require_onnx(exporter: bool = False) -> None:
    """Raise LTPError unless the packages for ONNX files are installed; torch's ``exporter`` needs onnxscript too."""
    for name in ("onnx", "onnxruntime", *(["onnxscript"] if exporter else [])):
        if importlib.util.find_spec(name) is None:
            raise missing_package("onnx", name, "onnx")


def save_onnx(
    model: LTPForSequenceClassification, path: Path, int8: bool = False, text: Sequence[Mapping[str, Tensor]] = ()
) -> None:
    """Write a model as one ONNX file, unchecked; its labels are in the metadata, as JSON under ``labels``.

    ``text``, padded batches, is what an 8-bit file's thresholds are set on (ltp.export.int8_thresholds).
    """
    import onnx

    from ltp.export.int8_thresholds import build_int8
    from ltp.export.onnx_model import build

    if (size := sum(4 * weight.numel() for weight in model.parameters())) > MAX_BYTES and not int8:
        raise LTPError(f"onnx: the weights take {size / 1e9:.1f} GB; one ONNX file holds 2 GB")
    proto = build_int8(model, text) if int8 else build(model)
    labels = [model.config.id2label[index] for index in range(model.num_labels)]
    proto.metadata_props.add(key="labels", value=json.dumps(labels, ensure_ascii=False))
    part = path.with_name(path.name + ".part")
    onnx.save(proto, part)
    os.replace(part, path)


def calibration_batches(split: Any, pad_token_id: int) -> list[dict[str, Tensor]]:
    """Evenly chosen sentences to set the thresholds of an 8-bit file on, in padded batches that mix lengths."""
    batches = list(_mixed_batches(split, CALIBRATED, pad_token_id, "classification"))
    for batch in batches:
        del batch["labels"]
    return batches


def _write(
    model: LTPForSequenceClassification, info: dict[str, Any], split: Any, path: Path,
    text: Sequence[Mapping[str, Tensor]] | None = None,
) -> str:  # fmt: skip
    """Write an ONNX file, in 8 bits with ``text``, and keep it if it passes the check; returns a line about it."""
    int8, unchecked = text is not None, path.with_name(f".{path.name}.unchecked")
    try:
        save_onnx(model, unchecked, int8, text or ())
        runtime = session(unchecked)
        batches = list(_mixed_batches(split, SCORED if int8 else CHECKED, model.config.pad_token_id, info["kind"]))
        labels = np.concatenate([batch.pop("labels") for batch in batches])
        outputs = [run_session(runtime, batch) for batch in batches]
        with torch.inference_mode():
            expected = [model(**batch) for batch in batches]
        if int8:
            line = _compare_int8(model, info, labels, outputs, expected, path)
            line += _compare_alone(runtime, batches, outputs)
        else:
            line = _compare(outputs, expected, path)
        os.replace(unchecked, path)
        return line
    finally:
        unchecked.unlink(missing_ok=True)


def _compare(outputs: Sequence[Sequence[np.ndarray]], expected: Sequence[LTPOutput], path: Path) -> str:
    """A line about how near the file is to PyTorch; LTPError where it keeps other tokens or its logits differ."""
    worst, sentences = 0.0, 0
    for (logits, attention_tokens, ffn_tokens), output in zip(outputs, expected, strict=True):
        for ours, theirs in ((attention_tokens, output.attention_tokens), (ffn_tokens, output.ffn_tokens)):
            if not np.array_equal(ours, theirs.numpy()):
                differing = int((ours != theirs.numpy()).any(1).sum())
                raise LTPError(
                    f"{path}: keeps other tokens than PyTorch in {differing} of {len(ours)} sentences; not kept"
                )
        wanted = output.logits.numpy()
        difference, tolerance = float(np.abs(logits - wanted).max()), TOLERANCE * max(1.0, float(np.abs(wanted).max()))
        worst, sentences = max(worst, difference), sentences + len(logits)
        if not difference <= tolerance:  # nor may it be no number
            raise LTPError(
                f"{path}: logits {difference:.1e} from PyTorch's, expected {tolerance:.0e} at most; not kept"
            )
    return f"{path}: logits within {worst:.0e} of PyTorch's and the same tokens kept, on {sentences} sentences"


def _compare_int8(
    model: LTPForSequenceClassification, info: dict[str, Any], labels: np.ndarray,
    outputs: Sequence[Sequence[np.ndarray]], expected: Sequence[LTPOutput], path: Path,
) -> str:  # fmt: skip
    """A line with both scores, the agreement and both FLOPs: only outputs that are no numbers fail, as 8 bits change
    answers."""
    ours = np.concatenate([each[0] for each in outputs])
    theirs = np.concatenate([each.logits.numpy() for each in expected])
    if not np.isfinite(ours).all():
        raise LTPError(f"{path}: gives outputs that are no numbers; not kept")
    metric = info["primary_metric"]
    scores = [100 * compute_metrics(info, logits, labels)[metric] for logits in (ours, theirs)]
    same = 100 * np.mean(ours.argmax(-1) == theirs.argmax(-1))
    agreement = f"the same class in {same:.1f} %, " if ours.shape[1] > 1 else ""
    counts = [
        [np.concatenate([each[1] for each in outputs]), np.concatenate([each[2] for each in outputs])],
        [torch.cat([getattr(each, name) for each in expected]).numpy() for name in ("attention_tokens", "ffn_tokens")],
    ]
    shares = [100 * _relative_flops(model, *each) for each in counts]
    return (
        f"{path}: {metric} {scores[0]:.1f} on {len(labels)} sentences, PyTorch's {scores[1]:.1f}; "
        f"{agreement}{shares[0]:.1f} % of the unpruned FLOPs, PyTorch's {shares[1]:.1f} %"
    )


def _compare_alone(
    runtime: Any, batches: Sequence[Mapping[str, Tensor]], outputs: Sequence[Sequence[np.ndarray]]
) -> str:
    """How far answers in 8 bits depend on the batch, all of whose tokens share a scale in each linear layer.

    Of the batches of several sentences, each sentence is run alone as well; empty where there is no such batch.
    """
    alone, batched = [], []
    for batch, (logits, *_) in zip(batches, outputs, strict=True):
        if len(logits) > 1:
            batched.append(logits)
            rows = ({name: values[row : row + 1] for name, values in batch.items()} for row in range(len(logits)))
            alone += [run_session(runtime, row)[0] for row in rows]
    if not alone:
        return ""
    ours, theirs = np.concatenate(alone), np.concatenate(batched)  # (B, C)
    if ours.shape[1] == 1:
        return f"; alone, outputs are up to {np.abs(ours - theirs).max():.2g} from those in a batch"
    return f"; alone, {100 * np.mean(ours.argmax(-1) == theirs.argmax(-1)):.1f} % have the class that a batch gives"


def _relative_flops(model: LTPForSequenceClassification, attention_tokens: np.ndarray, ffn_tokens: np.ndarray) -> float:
    """From (B, L) tokens: all of a sentence's enter the first layer's attention."""
    return flops.summarise(attention_tokens, ffn_tokens, attention_tokens[:, 0], model.sizes)["relative"]


def _load_tokenizer(run: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(run, local_files_only=True)
    except (OSError, ValueError):
        raise LTPError(f"{run}: no tokenizer; expected tokenizer.json, which belongs to the model") from None


def _mixed_batches(split: Any, count: int, pad_token_id: int, kind: str) -> Iterator[dict[str, torch.Tensor]]:
    """Evenly chosen sentences with their labels: an eighth one by one, the others in batches that mix lengths."""
    rows = [split[int(index)] for index in np.linspace(0, len(split) - 1, min(count, len(split)))]
    collate = Collator(pad_token_id, kind)
    rest = [row for index, row in enumerate(rows) if index % 8]
    groups = -(-len(rest) // 8)
    for group in ([row] for row in rows[::8]):
        yield collate(group)
    for start in range(groups):
        yield collate(rest[start::groups])


def _own_data(run: Path) -> Path:
    """The data of a model. Raises LTPError where there are none above it."""
    if data := data_above(run):
        return data
    raise LTPError(f"{run}: no data folder in or above it; give --data, a folder that `ltp data` wrote, to check with")
