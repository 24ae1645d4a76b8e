"""The model: BERT and RoBERTa with tokens removed. Small random encoders; full-size ones without memory."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny
from helpers.reference_model import forward as reference_forward
from hypothesis import given, settings
from hypothesis import strategies as st

from ltp.common.errors import LTPError
from ltp.models.layouts.registry import LAYOUTS
from ltp.models.modeling import LTPForSequenceClassification
from ltp.results.encoders import ENCODERS
from ltp.settings.pruning import PruningSettings
from ltp.text.packaged import packaged_model_path

PRUNE_MODES = list(tiny.PRUNING)
LENGTHS = [13, 4, 9, 2, 7]
NONE = PruningSettings(prune_mode="none")
KEPT_ALL = "nothing is pruned here, so this test would show nothing"


def kinds(function):
    return pytest.mark.parametrize("kind", tiny.KINDS)(function)


def all_kinds(function):
    return pytest.mark.parametrize("kind", (*tiny.KINDS, *tiny.ALIKE))(function)


def modes(function):
    return pytest.mark.parametrize("mode", PRUNE_MODES)(function)


@all_kinds
def test_unpruned_is_the_base_model(kind):
    base, batch = tiny.base_model(kind), tiny.batch(tiny.sentences(LENGTHS), extra=3)
    model = LTPForSequenceClassification.from_base(base, NONE)
    labels = torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        found, expected = model(**batch, labels=labels, return_kept=True), base(**batch, labels=labels)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.loss, expected.loss, atol=1e-5, rtol=0)
    assert found.attention_tokens.tolist() == found.ffn_tokens.tolist() == [[length] * 4 for length in LENGTHS]
    assert torch.equal(found.kept, 4 * batch["attention_mask"]) and found.regulariser is None


def test_pairs_with_token_types_are_the_base_model_s():
    base, batch = tiny.base_model("bert"), tiny.batch(tiny.sentences(LENGTHS))
    types = torch.zeros_like(batch["input_ids"])
    types[:, 2:] = 1
    with torch.no_grad():
        expected = base(**batch, token_type_ids=types).logits
        found = LTPForSequenceClassification.from_base(base, NONE)(**batch, token_type_ids=types).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(expected, base(**batch).logits, atol=1e-3)


def test_every_architecture_that_is_read_without_torch_has_an_adapter():
    assert LAYOUTS.keys() == ENCODERS.keys() == set(tiny.KINDS) | set(tiny.ALIKE)


@kinds
def test_without_a_mask_every_token_is_real(kind):
    """In 64 bits: in 32, rounding alone puts two equal DeBERTas up to 2e-5 apart on some processors."""
    base, ids = tiny.base_model(kind).double(), torch.stack(tiny.sentences([6, 6]))
    with torch.no_grad():
        found = LTPForSequenceClassification.from_base(base, NONE)(ids).logits
        torch.testing.assert_close(found, base(ids).logits, atol=1e-6, rtol=0)


@all_kinds
def test_regression_has_a_squared_loss(kind):
    base, batch = tiny.base_model(kind, labels=1), tiny.batch(tiny.sentences(LENGTHS))
    labels = torch.tensor([0.0, 1.5, 5.0, 2.0, 3.0])
    with torch.no_grad():
        found = LTPForSequenceClassification.from_base(base, NONE)(**batch, labels=labels)
        expected = base(**batch, labels=labels)
    assert found.logits.shape == (5, 1)  # of DeBERTa the library returns (5,) where there are labels
    torch.testing.assert_close(found.logits, expected.logits.view(5, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.loss, expected.loss)


@kinds
@pytest.mark.parametrize("mode", ["absolute_threshold", "rising_threshold", "threshold"])
def test_thresholds_of_zero_prune_nothing(kind, mode):
    base, batch = tiny.base_model(kind), tiny.batch(tiny.sentences(LENGTHS))
    pruning = PruningSettings(prune_mode=mode, final_token_threshold=0.0)
    model = LTPForSequenceClassification.from_base(base, pruning)
    with torch.no_grad():
        found, expected = model(**batch), base(**batch).logits
        torch.testing.assert_close(found.logits, expected, atol=1e-5, rtol=0)
        assert found.ffn_tokens.tolist() == [[length] * 4 for length in LENGTHS]
        if mode == "absolute_threshold":  # learned below zero is the same
            model.threshold_deltas.data.fill_(-0.1)
            torch.testing.assert_close(model(**batch).logits, expected, atol=1e-5, rtol=0)


@kinds
@modes
def test_agrees_with_one_sentence_at_a_time(kind, mode):
    """Removed in a packed batch, or masked in a sentence by itself: logits, tokens and gradients are the same."""
    model = tiny.pruning_model(kind, mode).train()
    rows, labels = tiny.sentences(LENGTHS), torch.tensor([0, 1, 2, 0, 1])
    found = model(**tiny.batch(rows), labels=labels, return_kept=True)
    assert found.ffn_tokens.sum() < 0.9 * 4 * sum(LENGTHS), KEPT_ALL
    found.loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}

    model.zero_grad()
    expected = [reference_forward(model, row) for row in rows]
    torch.nn.functional.cross_entropy(torch.cat([one.logits for one in expected]), labels).backward()
    for index, one in enumerate(expected):
        torch.testing.assert_close(found.logits[index], one.logits[0])
        assert found.kept[index, : len(rows[index])].tolist() == one.kept.tolist()
        assert found.attention_tokens[index].tolist() == one.attention_tokens
        assert found.ffn_tokens[index].tolist() == one.ffn_tokens
    assert set(gradients) == {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert "threshold_deltas" not in gradients and len(gradients) > 0.8 * len(list(model.parameters()))
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad)


@pytest.mark.parametrize("kind", tiny.SOFT_KINDS)
def test_soft_masks_agree_with_one_sentence_at_a_time(kind):
    """Every token stays, rows are multiplied by their masks, thresholds get gradients; only in training."""
    model = tiny.pruning_model(kind).train()
    model.use_soft_masks(0.01)
    rows, labels = tiny.sentences(LENGTHS), torch.tensor([0, 1, 2, 0, 1])
    found = model(**tiny.batch(rows, extra=2), labels=labels, return_kept=True)
    (found.loss + 0.3 * found.regulariser).backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    assert found.attention_tokens.tolist() == found.ffn_tokens.tolist() == [[length] * 4 for length in LENGTHS]

    model.zero_grad()
    expected = [reference_forward(model, row, temperature=0.01) for row in rows]
    logits = torch.cat([one.logits for one in expected])
    regulariser = sum(one.masks for one in expected) / (len(rows) * tiny.SCORE_LENGTH)
    torch.testing.assert_close(found.logits, logits)
    torch.testing.assert_close(found.regulariser, regulariser)
    (torch.nn.functional.cross_entropy(logits, labels) + 0.3 * regulariser).backward()
    assert gradients["threshold_deltas"].abs().min() > 0
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad)


@pytest.mark.parametrize("kind", tiny.SOFT_KINDS)
def test_evaluation_never_uses_soft_masks(kind):
    model, batch = tiny.pruning_model(kind), tiny.batch(tiny.sentences(LENGTHS))
    with torch.no_grad():
        expected = model(**batch)
        model.use_soft_masks(0.01)
        found = model.eval()(**batch)
        assert model.train()(**batch).regulariser is not None
    assert torch.equal(found.logits, expected.logits) and found.regulariser is None
    assert found.ffn_tokens.sum() < sum(LENGTHS) * 4, KEPT_ALL


@settings(max_examples=40)
@given(
    st.sampled_from(tiny.KINDS),
    st.sampled_from(PRUNE_MODES),
    st.lists(st.integers(1, 16), min_size=1, max_size=6),
    st.integers(0, 9),
    st.booleans(),
    st.integers(0, 1000),
)
def test_batch_mates_and_padding_change_nothing(kind, mode, lengths, extra, left, seed):
    """A sentence's logits, tokens and layers lived are its own: alone, in any batch, under any padding on any side."""
    model = MODELS[kind, mode]
    rows = tiny.sentences(lengths, seed)
    with torch.no_grad():
        found = model(**tiny.batch(rows, extra, left), return_kept=True)
        for index, row in enumerate(rows):
            alone = model(row[None], return_kept=True)
            torch.testing.assert_close(found.logits[index], alone.logits[0])
            real = found.kept[index][-len(row) :] if left else found.kept[index][: len(row)]
            assert torch.equal(real, alone.kept[0]) and found.kept[index].sum() == alone.kept.sum()
            assert torch.equal(found.attention_tokens[index], alone.attention_tokens[0])
            assert torch.equal(found.ffn_tokens[index], alone.ffn_tokens[0])
            assert real[0] == 4 and alone.ffn_tokens[0, -1] >= 1


MODELS = {(kind, mode): tiny.pruning_model(kind, mode) for kind in tiny.KINDS for mode in PRUNE_MODES}


REAL = (
    "A quiet, moving film.",
    "The plot is thin, and the last act drags on for what feels like an hour, but its two leads are a joy to watch.",
    "Dreadful.",
    "I went in expecting very little and came out humming the songs; my children, who are hard to please, loved it.",
    "Neither funny nor frightening, it wastes a good cast.",
)


@pytest.fixture(scope="module")
def packaged():
    """The packaged encoder with a random classifier, its thresholds set so that about half of the tokens go."""
    from transformers import AutoTokenizer, BertForSequenceClassification

    path = packaged_model_path()
    torch.manual_seed(0)
    base = BertForSequenceClassification.from_pretrained(path, num_labels=2, dtype=torch.float32).eval()
    pruning = PruningSettings(final_token_threshold=0.003)
    return LTPForSequenceClassification.from_base(base, pruning), AutoTokenizer.from_pretrained(path)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [None, 64, 128])
def test_real_sentences_alone_batched_and_padded(packaged, side, length):
    model, tokenizer = packaged
    batch = tokenizer(
        list(REAL), padding="max_length" if length else True, max_length=length, padding_side=side, return_tensors="pt"
    )
    with torch.no_grad():
        found = model(**batch, return_kept=True)
        alone = [model(**tokenizer(text, return_tensors="pt"), return_kept=True) for text in REAL]
        turned = model(**{name: value.flip(0) for name, value in batch.items()}, return_kept=True)
    for index, one in enumerate(alone):
        torch.testing.assert_close(found.logits[index], one.logits[0], atol=1e-5, rtol=1e-5)
        real = found.kept[index][batch["attention_mask"][index] == 1]
        assert torch.equal(real, one.kept[0]) and found.kept[index].sum() == one.kept.sum()
    torch.testing.assert_close(turned.logits.flip(0), found.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(turned.kept.flip(0), found.kept)
    shares = found.ffn_tokens.sum(0) / batch["attention_mask"].sum()
    assert shares[0] > 0.9 and 0.2 < shares[-1] < 0.8, shares


def test_a_sentence_without_tokens_is_refused():
    """It has no first token to classify by, and would be given its neighbour's."""
    mask = torch.ones(3, 5, dtype=torch.long)
    mask[1] = 0
    with pytest.raises(LTPError, match="row 1 has no real token"):
        tiny.pruning_model("bert")(torch.full((3, 5), 7), mask)


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("mode", [*tiny.PRUNING, "none"])
def test_no_sentences_give_no_answers(kind, mode):
    """A server whose filter lets nothing through needs no branch of its own."""
    pruning = tiny.PRUNING.get(mode, PruningSettings(prune_mode="none"))
    model = LTPForSequenceClassification.from_base(tiny.base_model(kind), pruning)
    empty = torch.zeros(0, 7, dtype=torch.long)
    with torch.no_grad():
        output = model(empty, torch.ones_like(empty), return_kept=True)
    assert output.logits.shape == (0, 3) and output.logits.dtype == torch.float32
    assert output.attention_tokens.shape == output.ffn_tokens.shape == (0, 4)
    assert output.kept.shape == (0, 7) and output.loss is None
    assert model(empty, labels=empty[:, 0]).loss.isnan()


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_holes_in_the_mask_change_nothing(kind):
    """Unlike in Hugging Face's models, whose positions count tokens that the mask excludes."""
    model = LTPForSequenceClassification.from_base(tiny.base_model(kind), PruningSettings(prune_mode="none"))
    ids, mask = torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([[1, 1, 0, 1, 1]])
    with torch.no_grad():
        found = model(ids, mask).logits
        torch.testing.assert_close(found, model.to_base()(ids[mask == 1][None]).logits)
        assert not torch.allclose(found, model.to_base()(ids, mask).logits)
