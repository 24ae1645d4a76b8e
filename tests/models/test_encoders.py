"""Every encoder learns, loads in a pipeline, keeps its answers in bfloat16 and with prepacked weights."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny
from helpers.tiny_text import save_tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings

ALL = (*tiny.KINDS, *tiny.ALIKE)
LENGTHS = [13, 4, 9, 2, 7, 11, 5, 8]
NONE = PruningSettings(prune_mode="none")


def kinds(function):
    return pytest.mark.parametrize("kind", tiny.KINDS)(function)


def trained(model, steps=30):
    """The losses of some steps on one batch."""
    batch = tiny.batch(tiny.sentences(LENGTHS))
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=3e-3)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        output = model(**batch, labels=labels)
        loss = output.loss
        if output.regulariser is not None:
            loss = loss + 0.01 * output.regulariser
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("kind", "stage"),
    [
        (kind, stage)
        for kind in tiny.KINDS
        for stage in ("soft", "hard", "shares")
        if stage != "soft" or kind in tiny.SOFT_KINDS  # the others refuse: test_modernbert.py
    ],
)
def test_learns_while_it_prunes(kind, stage):
    if stage == "shares":
        model = tiny.scored_model(kind, "relative").float().train()
        model.train_on_shares([1.0, 0.7, 0.5, 0.0])
    else:
        model = tiny.pruning_model(kind).float().train()
        model.use_soft_masks(0.01 if stage == "soft" else None)
    before = model.threshold_deltas.detach().clone()
    losses = trained(model)
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(model.threshold_deltas, before) == (stage != "soft")
    with torch.no_grad():
        assert model.eval()(**tiny.batch(tiny.sentences(LENGTHS))).ffn_tokens.sum() < 4 * sum(LENGTHS)


@pytest.mark.parametrize("kind", ALL)
def test_saved_loaded_and_run_in_a_pipeline(kind, tmp_path):
    """Whatever the tokenizer gives: this one gives token_type_ids, which some encoders do not have."""
    model = LTPForSequenceClassification.from_base(
        tiny.base_model(kind, vocab_size=save_tokenizer(tmp_path)), tiny.PRUNING["absolute_threshold"]
    )
    model.save_pretrained(tmp_path)
    loaded, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    texts = ["the plot was dull but the actor was so very warm", "a fine film"]
    found = pipeline("text-classification", model=loaded, tokenizer=tokenizer)(texts, batch_size=2)
    for text, answer in zip(texts, found, strict=True):
        with torch.no_grad():
            probabilities = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        assert answer["label"] == f"LABEL_{probabilities.argmax()}"
        assert answer["score"] == pytest.approx(probabilities.max().item(), abs=1e-5)


@kinds
@pytest.mark.parametrize("mode", ["none", *tiny.PRUNING])
def test_prepacked_weights_give_the_answers_of_torch_s_layers(kind, mode):
    pruning = tiny.PRUNING.get(mode, NONE)
    model = LTPForSequenceClassification.from_base(tiny.base_model(kind), pruning)
    batch = tiny.batch(tiny.sentences(LENGTHS))
    with torch.inference_mode():
        found = model(**batch)
        assert len(model.prepacked._by_layers) >= 4 * 4
    expected = model(**batch)
    torch.testing.assert_close(found.logits, expected.logits.detach(), atol=1e-4, rtol=1e-4)
    assert torch.equal(found.ffn_tokens, expected.ffn_tokens)


@kinds
def test_bfloat16_stays_near_float32(kind):
    """The median over random models: single ones can have a token near a threshold, or a wide head."""
    batch, errors = tiny.batch(tiny.sentences(LENGTHS)), []
    for seed in range(5):
        model = LTPForSequenceClassification.from_base(tiny.base_model(kind, seed=seed, initializer_range=0.1), NONE)
        with torch.inference_mode():
            expected = model(**batch).logits
            found = model.to(torch.bfloat16)(**batch).logits
        assert found.dtype == torch.bfloat16
        errors.append(((found.float() - expected).abs().max() / expected.abs().max()).item())
    assert sorted(errors)[2] < 0.05


@kinds
def test_dropout_is_set_by_the_keys_that_the_architecture_reads(kind):
    """All dropout of the encoder's layers is off, in training too, where `dropout` is 0."""
    model = LTPForSequenceClassification.from_base(tiny.base_model(kind), NONE).train()
    batch = tiny.batch(tiny.sentences(LENGTHS))
    assert torch.equal(model(**batch).logits, model(**batch).logits)
