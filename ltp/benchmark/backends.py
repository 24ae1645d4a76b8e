"""The backends that the benchmark compares: ways to run a classifier over padded batches, unpruned and pruned."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from ltp.benchmark import openvino_backend
from ltp.export.export import save_onnx
from ltp.export.session import run_session, session
from ltp.models.embedding import protected_lengths
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.packing import PackedTokens, count_tokens
from ltp.models.scores import contribution, head_gram, predicted_saliency, value_norms
from ltp.settings.pruning import SALIENCY, PruningSettings

Batch = Mapping[str, Tensor]
Run = Callable[[Batch], np.ndarray]  # a batch -> its logits (B, C)


@dataclass(frozen=True)
class Backend:
    """A way to run the classifier.

    ``batches``: how sentences are batched: ``padded`` (in the order of the data, all to one length), ``dynamic`` (in
    that order, to the longest of the batch) or ``sorted`` (by length, to the longest of the batch). ``unpruned``: for a
    backend that prunes, the name of the same engine without pruning. ``weights``: the number format of its matrix
    products, where it has one of its own; empty: that of the references. ``needs``: what must be there for it to run.
    """

    name: str
    title: str
    make: Callable[[BackendInputs], Run]
    batches: str = "sorted"
    unpruned: str = ""
    weights: str = ""
    needs: tuple[str, ...] = ()  # of: onnx, exporter, openvino, nncf, compiler, bfloat16, bert_blocks

    @property
    def exact(self) -> bool:
        """Whether its precision is the references', so that its answers must be theirs but for rounding."""
        return self.weights in ("", "float32")

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the CPU only."""
        return bool({"onnx", "openvino"} & set(self.needs))


@dataclass
class BackendInputs:
    """What backends are made from. ``model`` prunes by ``method``, ``base`` does not; ``folder`` is for files.

    ``text``, padded batches of training sentences, is what 8-bit models are calibrated on.
    """

    method: str
    model: LTPForSequenceClassification
    base: PreTrainedModel
    folder: Path
    threads: int
    device: torch.device
    dtype: torch.dtype
    text: Sequence[Batch] = ()

    def to_device(self, model: nn.Module) -> nn.Module:
        """The model on the device, in the precision, in evaluation mode."""
        return model.to(self.device, self.dtype).eval()


def _torch(inputs: BackendInputs, model: nn.Module) -> Run:
    model = inputs.to_device(model)

    def run(batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            logits = model(**{name: value.to(inputs.device, non_blocking=True) for name, value in batch.items()}).logits
            return logits.float().cpu().numpy()

    return run


def _hugging_face(inputs: BackendInputs) -> Run:
    return _torch(inputs, inputs.base)


def _bfloat16(choose: Callable[[BackendInputs], nn.Module]) -> Callable[[BackendInputs], Run]:
    """On the CPU, a copy in bfloat16: the weights of the original stay as they are."""
    return lambda inputs: _torch(
        replace(inputs, dtype=torch.bfloat16), copy.deepcopy(choose(inputs)).to("cpu", torch.bfloat16)
    )


def _compiled(inputs: BackendInputs) -> Run:
    return _torch(inputs, torch.compile(inputs.to_device(copy.deepcopy(inputs.base)), dynamic=True))


def _masked(inputs: BackendInputs) -> Run:
    eager = copy.deepcopy(inputs.model).to_base()
    eager.set_attn_implementation("eager")
    return _torch(inputs, MaskedOnly(inputs.model, inputs.to_device(eager)))


class MaskedOnly(nn.Module):
    """The Hugging Face model with pruning as the original runs it: pruned tokens are masked, but still computed."""

    def __init__(self, model: LTPForSequenceClassification, eager: PreTrainedModel) -> None:
        super().__init__()
        self.model, self.eager = model, eager  # which gives the rule; whose attention returns probabilities

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Padded sentences (B, N) -> an output with ``logits`` (B, C)."""
        model, encoder = self.model, self.eager.base_model
        kept, lengths = attention_mask != 0, attention_mask.sum(1)
        rule, end = model.rule(), model.config.protected_until
        protected = None if end is None else protected_lengths(input_ids, attention_mask, end)
        probes = getattr(model, SALIENCY, None)
        hidden = encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        for index, layer in enumerate(encoder.encoder.layer):
            mask = torch.zeros_like(kept, dtype=hidden.dtype).masked_fill_(~kept, torch.finfo(hidden.dtype).min)
            entered = hidden
            context, probabilities = layer.attention.self(hidden, attention_mask=mask[:, None, None])
            attended = layer.attention.output(context, hidden)
            hidden = layer.output(layer.intermediate(attended), attended)
            if rule.is_active(index):
                if probes is None:
                    received = self._received(layer.attention, entered, probabilities, kept)  # (B, N)
                else:
                    received = predicted_saliency(entered.flatten(0, 1), probes[index])
                indices = kept.reshape(-1).nonzero().squeeze(1)  # (T,) into B·N
                seq_ids = torch.div(indices, input_ids.shape[1], rounding_mode="floor")
                tokens = PackedTokens(hidden.flatten(0, 1), seq_ids, count_tokens(seq_ids, len(kept)), protected)
                rows = rule.keep_indices(index, received.reshape(-1)[indices], tokens, lengths)
                kept = torch.zeros_like(kept).view(-1).index_fill_(0, indices[rows], True).view_as(kept)
        return SequenceClassifierOutput(logits=model.layout.classify(model, hidden[:, 0]))

    def _received(self, attention: nn.Module, hidden: Tensor, probabilities: Tensor, kept: Tensor) -> Tensor:
        """(B, N) what each token is scored by, from what entered the layer (B, N, H) and (B, A, N, N)."""
        totals = (probabilities * kept[:, None, :, None]).sum(2)  # (B, A, N)
        if self.model.config.scoring_mode != "contribution":
            return totals.sum(1)
        gram = head_gram(attention.output.dense.weight, self.model.heads)
        norms = value_norms(attention.self.value(hidden).flatten(0, 1), gram)  # (B·N, A)
        norms = norms.view(*kept.shape, -1).transpose(1, 2)
        return contribution(totals, probabilities[:, :, 0], kept.sum(1), norms)


def onnx_from_transformers(base: PreTrainedModel, path: Path) -> None:
    """The unpruned model as its users export it: torch's exporter, eager attention (the faster one once exported)."""
    from torch.export import Dim

    model = copy.deepcopy(base).eval()
    model.set_attn_implementation("eager")
    ids = torch.full((2, 8), 5)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(base.config, "type_vocab_size", 1) > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    shape = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which nothing here needs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the exporter's own use of an old call
        program = torch.onnx.export(
            model, kwargs=inputs, dynamo=True, dynamic_shapes=dict.fromkeys(inputs, shape), opset_version=20,
            output_names=["logits"], verbose=False,
        )  # fmt: skip
    program.save(path)


def _transformers_onnx(inputs: BackendInputs) -> Path:
    """The unpruned model's file, written where it is first needed."""
    path = inputs.folder / "transformers.onnx"
    if not path.is_file():
        onnx_from_transformers(inputs.base, path)
    return path


def _openvino(weights: str) -> Callable[[BackendInputs], Run]:
    return lambda inputs: openvino_backend.compiled(_transformers_onnx(inputs), weights, inputs.threads, inputs.text)


def _onnx(kind: str, int8: bool) -> Callable[[BackendInputs], Run]:
    def make(inputs: BackendInputs) -> Run:
        name = f"{kind}-{inputs.method}" if kind == "pruned" else kind
        path = inputs.folder / f"{name}{'.int8' if int8 else ''}.onnx"
        if kind != "transformers":
            model = inputs.model if kind == "pruned" else unpruned(inputs.base)
            save_onnx(model, path, int8, inputs.text)
        elif not int8:
            path = _transformers_onnx(inputs)
        else:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            kinds = ["MatMul", "Gemm", "Attention"]
            source = _transformers_onnx(inputs)
            quantize_dynamic(source, path, kinds, per_channel=True, weight_type=QuantType.QInt8)
        runtime = session(path, inputs.threads)
        return lambda batch: run_session(runtime, batch)[0]

    return make


def unpruned(base: PreTrainedModel) -> LTPForSequenceClassification:
    """The classifier on packed tokens, none of them removed."""
    return LTPForSequenceClassification.from_base(base, PruningSettings(prune_mode="none"))


REFERENCE = "hf-dynamic"  # what every speed-up is measured against
BACKENDS = (
    Backend("hf-padded", "Hugging Face, padded", _hugging_face, batches="padded"),
    Backend(
        "hf-masked", "Hugging Face, padded, pruning by masks only", _masked, "padded", unpruned="hf-padded",
        needs=("bert_blocks",),
    ),
    Backend("hf-dynamic", "Hugging Face, padded to the batch", _hugging_face, batches="dynamic"),
    Backend("hf-sorted", "Hugging Face, sorted by length", _hugging_face),
    Backend(
        "hf-bf16", "Hugging Face, sorted, bf16", _bfloat16(lambda inputs: inputs.base),
        weights="bfloat16", needs=("bfloat16",),
    ),
    Backend("hf-compiled", "Hugging Face, sorted, torch.compile", _compiled, needs=("compiler",)),
    Backend(
        "onnx", "ONNX Runtime, unpruned", _onnx("transformers", False), weights="float32", needs=("onnx", "exporter")
    ),
    Backend(
        "onnx-int8", "ONNX Runtime, unpruned, int8", _onnx("transformers", True),
        weights="int8", needs=("onnx", "exporter"),
    ),
    Backend(
        "openvino", "OpenVINO, unpruned", _openvino("float32"), weights="float32", needs=("openvino", "exporter")
    ),
    Backend(
        "openvino-bf16", "OpenVINO, unpruned, bf16", _openvino("bfloat16"),
        weights="bfloat16", needs=("openvino", "exporter", "bfloat16"),
    ),
    Backend(
        "openvino-int8", "OpenVINO, unpruned, int8", _openvino("int8"),
        weights="int8", needs=("openvino", "nncf", "exporter"),
    ),
    Backend("ltp-dense", "packed, unpruned", lambda inputs: _torch(inputs, unpruned(inputs.base))),
    Backend("ltp", "packed, pruned", lambda inputs: _torch(inputs, inputs.model), unpruned="ltp-dense"),
    Backend(
        "ltp-dense-bf16", "packed, unpruned, bf16", _bfloat16(lambda inputs: unpruned(inputs.base)),
        weights="bfloat16", needs=("bfloat16",),
    ),
    Backend(
        "ltp-bf16", "packed, pruned, bf16", _bfloat16(lambda inputs: inputs.model),
        unpruned="ltp-dense-bf16", weights="bfloat16", needs=("bfloat16",),
    ),
    Backend("ltp-dense-onnx", "packed ONNX, unpruned", _onnx("dense", False), weights="float32", needs=("onnx",)),
    Backend(
        "ltp-dense-onnx-int8", "packed ONNX, unpruned, int8", _onnx("dense", True), weights="int8", needs=("onnx",)
    ),
    Backend(
        "ltp-onnx", "packed ONNX, pruned", _onnx("pruned", False),
        unpruned="onnx", weights="float32", needs=("onnx",),
    ),
    Backend(
        "ltp-onnx-int8", "packed ONNX, pruned, int8", _onnx("pruned", True),
        unpruned="onnx-int8", weights="int8", needs=("onnx",),
    ),
)  # fmt: skip
