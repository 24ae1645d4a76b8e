"""What is exported answers as the model does: tiny random encoders, real sentences where a whole run is exported."""

from __future__ import annotations

import copy
import json
import re
import shutil

import numpy as np
import pytest
import torch
from helpers import tiny
from transformers import AutoModelForSequenceClassification

from ltp.cli.main import main as cli
from ltp.common.errors import LTPError
from ltp.models.modeling import LTPForSequenceClassification

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

from ltp.export import export, onnx_model  # noqa: E402
from ltp.settings.pruning import KEEP_ALL, KEEP_FIRST, PruningSettings  # noqa: E402

MODES = [*tiny.PRUNING, "none"]


def model_of(kind, mode, **config):
    pruning = tiny.PRUNING.get(mode, PruningSettings(prune_mode="none"))
    return LTPForSequenceClassification.from_base(tiny.base_model(kind, **config), pruning)


def runtime_of(model, int8=False):
    return onnxruntime.InferenceSession(onnx_model.build(model, int8).SerializeToString())


def assert_same(model, runtime, batch):
    with torch.no_grad():
        expected = model(**batch)
    logits, attention_tokens, ffn_tokens = export.run_session(runtime, batch)
    np.testing.assert_allclose(logits, expected.logits.numpy(), atol=1e-4)
    assert np.array_equal(attention_tokens, expected.attention_tokens.numpy())
    assert np.array_equal(ffn_tokens, expected.ffn_tokens.numpy())
    return expected


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_one_file_takes_every_batch_and_length(kind, mode):
    model = model_of(kind, mode)
    runtime = runtime_of(model)
    for lengths in ([9], [1], [13, 4, 9, 2, 7], [30, 31], [5] * 4, [1, 1]):
        found = assert_same(model, runtime, tiny.batch(tiny.sentences(lengths)))
    removed = assert_same(model, runtime, tiny.batch(tiny.sentences([13, 4, 9, 2, 7]))).ffn_tokens[:, -1]
    assert found.logits.shape == (2, 3) and (mode == "none") == (removed.tolist() == [13, 4, 9, 2, 7])


@pytest.mark.parametrize("kind", (*tiny.KINDS, *tiny.ALIKE))
def test_padding_on_either_side_changes_nothing(kind):
    model = model_of(kind, "absolute_threshold")
    runtime = runtime_of(model)
    for rows in (tiny.sentences([8]), tiny.sentences([8, 3, 11])):
        for left in (False, True):
            assert_same(model, runtime, tiny.batch(rows, extra=4, left=left))


def test_segments_reach_the_encoder():
    model, batch = model_of("bert", "absolute_threshold"), tiny.batch(tiny.sentences([9, 6]))
    runtime = runtime_of(model)
    types = {"token_type_ids": torch.arange(9)[None].expand(2, 9) // 5}
    with_types = assert_same(model, runtime, batch | types).logits
    assert not torch.allclose(with_types, assert_same(model, runtime, batch).logits, atol=1e-3)


def test_other_activations_and_regression():
    for activation in ("relu", "gelu_new"):
        model = model_of("bert", "absolute_threshold", hidden_act=activation, labels=1)
        assert_same(model, runtime_of(model), tiny.batch(tiny.sentences([9, 6])))


@pytest.mark.parametrize("mode", MODES)
def test_means_of_what_is_left(mode):
    model = model_of("modernbert", mode, classifier_pooling="mean")
    runtime = runtime_of(model)
    for lengths in ([9], [1], [13, 4, 9, 2, 7], [30, 31]):
        found = assert_same(model, runtime, tiny.batch(tiny.sentences(lengths), extra=2, left=True))
    assert (mode == "none") == (found.ffn_tokens.sum() == 4 * 61)


@pytest.mark.parametrize(
    "keys",
    [
        {"share_att_key": False},
        {"pos_att_type": ["c2p"]},
        {"pos_att_type": ["p2c"], "position_buckets": -1, "max_relative_positions": 6},
        {"relative_attention": False, "position_biased_input": True, "type_vocab_size": 2, "norm_rel_ebd": "none"},
    ],
)
def test_distances_in_all_ways(keys):
    for mode in ("absolute_threshold", "none"):
        model = model_of("deberta-v2", mode, initializer_range=0.3, **keys)
        assert_same(model, runtime_of(model), tiny.batch(tiny.sentences([30, 4, 9, 1]), extra=2))
    with pytest.raises(LTPError, match="embedding_size: 24, narrower than the layers, cannot be exported to ONNX"):
        onnx_model.build(model_of("deberta-v2", "none", embedding_size=24))


def test_an_activation_that_the_graph_lacks_is_refused():
    with pytest.raises(LTPError, match="hidden_act: 'silu' cannot be exported to ONNX; expected one of gelu"):
        onnx_model.build(model_of("bert", "none", hidden_act="silu"))
    with pytest.raises(LTPError, match="the head's activation: 'silu' cannot be exported to ONNX"):
        onnx_model.build(model_of("modernbert", "none", classifier_activation="silu"))


def test_the_standard_s_operators_only():
    graph = onnx_model.build(model_of("bert", "topk"), int8=True)
    assert [item.domain for item in graph.opset_import] == [""]
    assert {node.domain for node in graph.graph.node} == {""}


def product_rows(model, batch):
    """Weight's name without its suffix -> rows of the product with it, in one run."""
    graph = onnx_model.build(model)
    products = {
        name.removesuffix(".weight"): node.output[0]
        for node in graph.graph.node if node.op_type == "MatMul" for name in node.input if name.endswith(".weight")
    }  # fmt: skip
    for output in products.values():
        graph.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    runtime = onnxruntime.InferenceSession(graph.SerializeToString())
    found = runtime.run(list(products.values()), {item.name: batch[item.name].numpy() for item in runtime.get_inputs()})
    return {name: len(values) for name, values in zip(products, found, strict=True)}


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_the_last_layer_computes_first_tokens_only(kind, mode):
    """Its products have a row a sentence, but for keys and values, and for queries where the layer scores."""
    model, batch = model_of(kind, mode), tiny.batch(tiny.sentences([13, 4, 9, 2, 7]))
    batch.setdefault("token_type_ids", torch.zeros_like(batch["input_ids"]))
    rows, last, tokens = product_rows(model, batch), model.layers - 1, int(batch["attention_mask"].sum())
    assert rows["layer0.qkv"] == tokens
    assert {rows[f"layer{last}.{name}"] for name in ("attention", "intermediate", "output")} == {5}
    if model.rule().needs_scores(last):
        assert 5 < rows[f"layer{last}.qkv"] <= tokens
    else:
        assert rows[f"layer{last}.query"] == 5 and rows[f"layer{last}.kv"] == tokens


def test_a_last_layer_that_keeps_first_tokens_only_computes_no_others():
    model = tiny.scored_model("bert", "relative", "absolute_threshold").float()
    model.set_thresholds([KEEP_ALL] * 3 + [KEEP_FIRST])
    batch = tiny.batch(tiny.sentences([13, 4, 9, 2, 7]))
    rows = product_rows(model, batch | {"token_type_ids": torch.zeros_like(batch["input_ids"])})
    assert rows["layer3.query"] == 5 and rows["layer3.kv"] == 35
    assert assert_same(model, runtime_of(model), batch).ffn_tokens[:, 3].tolist() == [1] * 5


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_8_bits_are_near(kind):
    """Without removal, so that only rounding shows; the median of five random models, as single ones vary by much."""
    batch, errors = tiny.batch(tiny.sentences([13, 4, 9, 2, 7])), []
    for seed in range(5):
        model = model_of(kind, "none", seed=seed)
        graph = onnx_model.build(model, int8=True)
        logits = export.run_session(onnxruntime.InferenceSession(graph.SerializeToString()), batch)[0]
        with torch.no_grad():
            expected = model(**batch).logits.numpy()
        errors.append(np.abs(logits - expected).max() / np.abs(expected).max())
    assert min(errors) > 0 and np.median(errors) < 0.2
    weights = [item for item in graph.graph.initializer if item.data_type == onnx.TensorProto.INT8 and item.dims]
    # Four products in each of four layers, with the last layer's queries apart from its keys; two in the head.
    assert len(weights) == 4 * 4 + 1 + 2 + (kind == "electra")  # whose embeddings are projected


def test_8_bit_products_fit_16_bits_in_pairs():
    """So that processors without VNNI, which add them in pairs in 16 bits, give the answers of those with it."""
    graph = onnx_model.build(model_of("bert", "absolute_threshold"), int8=True)
    weights = [item for item in graph.graph.initializer if item.data_type == onnx.TensorProto.INT8 and item.dims]
    for item in weights:
        weight = np.abs(onnx.numpy_helper.to_array(item).astype(np.int64))  # (in, out): neighbours along the input
        assert 255 * (weight[0::2] + weight[1::2]).max() <= np.iinfo(np.int16).max
        assert weight.max() == 64  # and the range is used


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_no_sentences_give_no_answers(mode, int8):
    runtime, empty = runtime_of(model_of("bert", mode), int8), torch.zeros(0, 7, dtype=torch.long)
    logits, attention_tokens, ffn_tokens = export.run_session(runtime, {"input_ids": empty, "attention_mask": empty})
    assert logits.shape == (0, 3) and attention_tokens.shape == ffn_tokens.shape == (0, 4)


@pytest.fixture(scope="module")
def exported(tiny_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    lines = export.export(tiny_study.converted, folder, onnx=True, int8=True, plain=True, data_dir=tiny_study.data)
    return folder, lines


def test_a_run_in_all_its_forms(tiny_study, exported):
    folder, lines = exported
    assert "without pruning" in lines[0] and "the same tokens kept, on 16 sentences" in lines[1]
    line = (
        r"accuracy \d+\.\d on 16 sentences, PyTorch's \d+\.\d; the same class in \d+\.\d %, "
        r"(\d+\.\d) % of the unpruned FLOPs, PyTorch's (\d+\.\d) %; "
        r"alone, \d+\.\d % have the class that a batch gives$"
    )
    ours, theirs = map(float, re.search(line, lines[2]).groups())
    assert theirs < 100 and abs(ours - theirs) < 5
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_study.base)
    assert type(plain) is type(base)
    weights, expected = plain.state_dict(), base.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected) and weights.keys() == expected.keys()


def test_the_example_needs_the_runtime_and_the_tokenizer_only(tiny_study, exported):
    from tokenizers import Tokenizer

    folder, _ = exported
    model = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(["the plot was fine", "a dull and weak story with the scene"])
    arrays = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    inputs = {
        item.name: np.array([getattr(text, arrays[item.name]) for text in encoded]) for item in model.get_inputs()
    }
    logits, attention_tokens, ffn_tokens = model.run(None, inputs)
    assert logits.shape == (2, 2) and attention_tokens[:, 0].tolist() == [6, 10]
    assert (ffn_tokens <= attention_tokens).all()
    assert len(json.loads(model.get_modelmeta().custom_metadata_map["labels"])) == 2


def test_a_file_that_answers_otherwise_is_not_kept(tiny_study, tmp_path, monkeypatch):
    right = onnx_model.build

    def wrong(model):
        shifted = LTPForSequenceClassification.from_base(model.to_base(), PruningSettings(prune_mode="none"))
        return right(shifted)

    monkeypatch.setattr(onnx_model, "build", wrong)
    with pytest.raises(LTPError, match=r"keeps other tokens than PyTorch in .* not kept"):
        export.export(tiny_study.converted, tmp_path / "out", onnx=True, data_dir=tiny_study.data)
    assert not list((tmp_path / "out").glob("*.onnx*")) and not list((tmp_path / "out").glob(".*"))
    (tmp_path / "out/model.onnx").write_bytes(b"of an earlier export")
    # A model of its own kind of wrong: the same tokens, other logits.
    monkeypatch.setattr(onnx_model, "build", lambda model: right(_louder(model)))
    with pytest.raises(LTPError, match=r"from PyTorch's, expected 1e-04 at most; not kept"):
        export.export(tiny_study.converted, tmp_path / "out", onnx=True, data_dir=tiny_study.data)
    assert (tmp_path / "out/model.onnx").read_bytes() == b"of an earlier export"


def test_outputs_of_any_size_may_differ_by_their_rounding(tmp_path):
    """As of a model that gives prices: 1e-4 of thousands is less than float32 can tell."""
    model = tiny.base_model("bert", labels=1)
    with torch.no_grad():
        model.classifier.weight.mul_(3000.0)
    model = LTPForSequenceClassification.from_base(model, PruningSettings(prune_mode="none"))
    rows = [{"input_ids": row.tolist(), "labels": 0.0} for row in tiny.sentences([13, 4, 9, 2, 7, 11, 12, 8])]
    info = {"kind": "regression", "metrics": ["pearson"], "primary_metric": "pearson"}
    assert "the same tokens kept, on 8 sentences" in export._write(model, info, rows, tmp_path / "model.onnx")
    line = export._write(model, info, rows, tmp_path / "model.int8.onnx", [tiny.batch(tiny.sentences([13, 4]))])
    assert re.search(r"; alone, outputs are up to \S+ from those in a batch$", line)


def _louder(model):
    louder = copy.deepcopy(model)
    with torch.no_grad():
        louder.classifier.bias.add_(1.0)
    return louder


def test_the_data_beside_a_run_are_found(tiny_study, tmp_path):
    (tmp_path / "task/run").mkdir(parents=True)
    (tmp_path / "task/data").symlink_to(tiny_study.data)
    (tmp_path / "task/run/model").symlink_to(tiny_study.converted)
    for name in tiny_study.converted.iterdir():
        (tmp_path / "task/run" / name.name).symlink_to(name)
    (line,) = export.export(tmp_path / "task/run", tmp_path / "out", onnx=True)
    assert "on 16 sentences" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "nothing asked for; expected --onnx, --int8 or --plain"),
        (["--onnx"], "no data folder in or above it; give --data"),
        (["--onnx", "--data", "nowhere"], "nowhere/task.json: not there"),
    ],
)
def test_problems_are_one_line(tiny_study, tmp_path, capsys, monkeypatch, options, expected):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(tiny_study.base, tmp_path / "model")  # away from its data
    arguments = ["export", str(run), "--output", str(tmp_path / "out"), *options]
    assert cli(arguments) == 1
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_a_run_that_diverged_has_nothing_to_export(tmp_path):
    from ltp.results.run import write_run

    record = {
        "status": "diverged", "reason": "the loss became nan", "task": "sst2", "model": "m", "method": "ltp",
        "stage": "hard", "seed": 0, "settings": {}, "primary_metric": "accuracy", "metrics": {}, "examples": {},
        "flops": {}, "layers": {}, "data_fingerprint": "0" * 64, "parent": None, "environment": {}, "timing": {},
    }  # fmt: skip
    write_run(tmp_path, record)
    with pytest.raises(LTPError, match="diverged \\(the loss became nan\\), so there is no model to export"):
        export.export(tmp_path, tmp_path / "out", plain=True)


@pytest.mark.parametrize("mode", ["absolute_threshold", "topk", "threshold"])
@pytest.mark.parametrize(
    ("kind", "scoring"),
    [("bert", "relative"), ("bert", "contribution"), *((kind, "saliency") for kind in tiny.KINDS)],
)
def test_scores_relative_to_the_sentence(kind, scoring, mode):
    model = tiny.scored_model(kind, scoring, mode).float()
    if mode == "absolute_threshold":
        with torch.no_grad():
            model.threshold_deltas[3] = 100.0  # the last layer keeps the first tokens only
    runtime = runtime_of(model)
    for lengths in ([9], [1], [13, 4, 9, 2, 7], [30, 31]):
        found = assert_same(model, runtime, tiny.batch(tiny.sentences(lengths), extra=2))
    assert found.ffn_tokens.sum() < 0.9 * 4 * 61
    empty = torch.zeros(0, 7, dtype=torch.long)
    assert export.run_session(runtime, {"input_ids": empty, "attention_mask": empty})[0].shape == (0, 3)
    batch = tiny.batch(tiny.sentences([13, 4, 9, 2, 7]))
    logits, _, ffn_tokens = export.run_session(runtime_of(model, int8=True), batch)
    assert np.isfinite(logits).all() and 5 * 4 <= ffn_tokens.sum() < 0.9 * 4 * 35
