"""Tokens that are never dropped: a pair's first text, in PyTorch by every rule, in training, calibration and ONNX."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.tiny import KINDS, PRUNING, base_model, batch, sentences
from hypothesis import given, settings
from hypothesis import strategies as st

from ltp.common.errors import LTPError
from ltp.models.calibration import calibrate, lengths_of, measure
from ltp.models.embedding import protected_lengths
from ltp.models.flops import Sizes
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.schedule import cost, shares_for
from ltp.settings.pruning import PruningSettings

END = 2  # the helper's sentences have no such token
SIZES = Sizes(32, 64)
RELATIVE = PruningSettings(scoring_mode="relative")


def pairs(lengths, ends, **options):
    """Sentences with the separator at the places ``ends``."""
    rows = sentences(lengths)
    for row, end in zip(rows, ends, strict=True):
        row[end] = END
        row[-1] = END
    return batch(rows, **options)


def protecting(kind, pruning, **options):
    model = LTPForSequenceClassification.from_base(base_model(kind, **options), pruning).double()
    model.config.protected_until = END
    return model


@given(st.lists(st.tuples(st.integers(2, 12), st.integers(0, 11)), min_size=1, max_size=5), st.booleans())
def test_lengths_are_counted_up_to_the_first_separator(shapes, left):
    shapes = [(length, min(end, length - 1)) for length, end in shapes]
    inputs = pairs([length for length, _ in shapes], [end for _, end in shapes], extra=2, left=left)
    assert protected_lengths(**inputs, end=END).tolist() == [end + 1 for _, end in shapes]


def test_a_sentence_without_a_separator_is_protected_whole():
    assert protected_lengths(**batch(sentences([5, 7])), end=END).tolist() == [5, 7]


@pytest.mark.parametrize("mode", [*PRUNING, "relative"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [False, True])
def test_every_rule_keeps_them_in_every_layer(kind, mode, left):
    model = protecting(kind, RELATIVE if mode == "relative" else PRUNING[mode])
    if mode == "relative":
        model.set_thresholds([-0.1, 0.3, 0.8, 100.0])
    inputs = pairs([20, 9, 14], [6, 3, 11], left=left)
    output = model(**inputs, return_kept=True)
    for row, mask, end in zip(output.kept, inputs["attention_mask"], [6, 3, 11], strict=True):
        kept = row[mask.bool()]
        assert (kept[: end + 1] == model.layers).all()
    assert (output.ffn_tokens[:, -1] < inputs["attention_mask"].sum(1)).all()  # others are dropped


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_shares_keeps_them(kind):
    model = protecting(kind, RELATIVE).train()
    model.train_on_shares([0.3, 0.2, 0.1, 0.0])
    inputs = pairs([20, 9, 14], [6, 3, 11])
    output = model(**inputs)
    assert (output.ffn_tokens >= torch.tensor([7, 4, 12])[:, None]).all()
    assert output.ffn_tokens[:, -1].tolist() == [7, 4, 12]


def test_thresholds_are_set_for_what_the_protected_leave():
    model = protecting("bert", RELATIVE).eval()
    inputs = [pairs([30, 24, 28, 33], [4, 3, 5, 2])]
    assert calibrate(model, inputs, 0.6) == pytest.approx(0.6, abs=0.05)
    assert measure(model, inputs) == pytest.approx(0.6, abs=0.05)


@given(
    st.floats(0.1, 1.0), st.integers(1, 16),
    st.lists(st.tuples(st.integers(2, 200), st.floats(0.0, 1.0)), min_size=1, max_size=6),
)  # fmt: skip
def test_shares_cost_the_target_with_the_protected_tokens(target, layers, shapes):
    lengths = np.array([length for length, _ in shapes])
    protected = np.array([max(1, round(share * length)) for length, share in shapes])
    least = cost([0.0] * layers, lengths, SIZES, protected=protected)
    try:
        shares = shares_for(target, layers, lengths, SIZES, protected=protected)
    except LTPError as error:
        assert target < least and f"{least:.3f} of the FLOPs" in str(error)
        return
    assert cost(shares, lengths, SIZES, protected=protected) == pytest.approx(target, abs=1e-6)


@pytest.mark.parametrize(("mode", "layers"), [("absolute_threshold", 4), ("absolute_threshold", 12), ("topk", 12)])
def test_what_is_possible_is_met_where_much_is_protected(mode, layers):
    """Two fifths of each text: without them in the schedule, half of the layers would have had nothing to drop."""
    pruning = PruningSettings(prune_mode=mode, scoring_mode="relative")
    model = protecting("bert", pruning, layers=layers).eval()
    inputs = [pairs([30, 24, 28, 33], [11, 9, 10, 12]) for _ in range(2)]
    lengths, protected = lengths_of(model, inputs)
    assert protected.tolist() == [12, 10, 11, 13] * 2
    least = cost([0.0] * layers, lengths, model.sizes, protected=protected)
    for target in (least + 0.05, 0.6, 0.9):
        assert calibrate(model, inputs, target) == pytest.approx(target, abs=0.025)
        assert measure(model, inputs) == pytest.approx(target, abs=0.025)


def test_the_config_keeps_it_and_the_plain_model_does_not_get_it(tmp_path):
    model = protecting("bert", RELATIVE).float()
    model.save_pretrained(tmp_path)
    again = LTPForSequenceClassification.from_pretrained(tmp_path)
    assert again.config.protected_until == END
    assert not hasattr(again.to_base().config, "protected_until")
    inputs = pairs([20, 9], [6, 3])
    torch.testing.assert_close(again(**inputs).logits, model.eval()(**inputs).logits)


def test_a_model_that_protects_none_does_not_say_so(tmp_path):
    LTPForSequenceClassification.from_base(base_model("bert"), RELATIVE).save_pretrained(tmp_path)
    assert "protected_until" not in (tmp_path / "config.json").read_text()


@settings(max_examples=8)
@given(st.sampled_from(sorted(PRUNING)), st.sampled_from(KINDS), st.integers(0, 4))
def test_the_onnx_file_keeps_the_same_tokens(mode, kind, seed):
    pytest.importorskip("onnxruntime")
    from ltp.export.onnx_model import build
    from ltp.export.session import run_session, session

    model = protecting(kind, PRUNING[mode], seed=seed).float().eval()
    inputs = pairs([20, 9, 14], [6, 3, 11], extra=3)
    logits, _, ffn_tokens = run_session(session(build(model).SerializeToString()), inputs)
    expected = model(**inputs)
    np.testing.assert_array_equal(ffn_tokens, expected.ffn_tokens.numpy())
    np.testing.assert_allclose(logits, expected.logits.detach().numpy(), atol=1e-4)


def test_an_8_bit_file_keeps_as_many(tmp_path):
    pytest.importorskip("onnxruntime")
    from ltp.export.int8_thresholds import build_int8
    from ltp.export.session import run_session, session

    model = protecting("bert", replace(PRUNING["absolute_threshold"])).float().eval()
    inputs = [pairs([20 + place, 9 + place, 14], [6, 3, 11]) for place in range(4)]
    runtime = session(build_int8(model, inputs).SerializeToString())
    counts = [run_session(runtime, each)[2].sum(0) for each in inputs]
    wanted = [model(**each).ffn_tokens.numpy().sum(0) for each in inputs]
    np.testing.assert_allclose(sum(counts), sum(wanted), atol=2)
