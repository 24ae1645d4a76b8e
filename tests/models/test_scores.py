"""The scores that compare a token with the others of its sentence: in every rule, soft and hard, in any batch."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny
from helpers.reference_model import forward as reference_forward
from hypothesis import given, settings
from hypothesis import strategies as st

from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.models import prepacked_linear
from ltp.models.calibration import keep_shares
from ltp.models.loading import load_pruned
from ltp.models.pruning import Rule
from ltp.models.saliency import fit_saliency
from ltp.models.scores import centred_log, contribution, head_gram, value_norms
from ltp.settings.pruning import KEEP_ALL, KEEP_FIRST, PruningSettings

RELATIVE = ("relative", "contribution", "saliency")
LENGTHS = [13, 4, 9, 2, 7]
MODELS = {
    (kind, scoring, mode): tiny.scored_model(kind, scoring, mode)
    for kind in tiny.KINDS
    for scoring in RELATIVE
    for mode in tiny.PRUNING
}


def relative(function):
    function = pytest.mark.parametrize("scoring", RELATIVE)(function)
    return pytest.mark.parametrize("kind", tiny.KINDS)(function)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.floats(0.01, 100.0))
def test_centred_logs_are_zero_at_the_median_of_each_sentence_and_know_no_scale(lengths, factor):
    received = torch.rand(sum(lengths), generator=torch.Generator().manual_seed(0), dtype=torch.double) + 0.01
    counts = torch.tensor(lengths)
    seq_ids = torch.arange(len(lengths)).repeat_interleave(counts)
    found = centred_log(received, seq_ids, counts)
    for part, scores in zip(found.split(lengths), received.split(lengths), strict=True):
        assert part.sort().values[(len(part) - 1) // 2] == 0.0
        torch.testing.assert_close(part, (scores / scores.median()).log())
    torch.testing.assert_close(centred_log(received * factor, seq_ids, counts), found)
    assert torch.equal(centred_log(received, seq_ids, counts, width=max(lengths) + 3), found)


def test_a_token_that_nothing_looks_at_has_a_finite_score():
    assert centred_log(torch.tensor([0.0, 1.0]), torch.tensor([0, 0]), torch.tensor([2])).isfinite().all()


def test_norms_by_the_gram_matrix_are_those_of_the_projected_values():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(12, 12, generator=generator, dtype=torch.double)
    value = torch.randn(5, 12, generator=generator, dtype=torch.double)
    projected = torch.einsum("oad,tad->tao", weight.view(12, 3, 4), value.view(5, 3, 4))
    torch.testing.assert_close(value_norms(value, head_gram(weight, 3)), projected.norm(dim=-1))


def test_contribution_is_attention_times_norm_summed_over_heads():
    received, from_first = torch.tensor([[[2.0, 4.0], [1.0, 3.0]]]), torch.tensor([[[0.5, 0.5], [0.25, 0.75]]])
    norms = torch.tensor([[[1.0, 10.0], [2.0, 20.0]]])
    expected = [[1.5 * 1 + 0.75 * 2, 2.5 * 10 + 2.25 * 20]]
    assert contribution(received, from_first, torch.tensor([2]), norms).tolist() == expected


@relative
@pytest.mark.parametrize("mode", list(tiny.PRUNING))
def test_agrees_with_one_sentence_at_a_time(kind, scoring, mode):
    model = MODELS[kind, scoring, mode].train()
    rows, labels = tiny.sentences(LENGTHS), torch.tensor([0, 1, 2, 0, 1])
    found = model(**tiny.batch(rows, extra=2), labels=labels, return_kept=True)
    assert sum(LENGTHS) < found.ffn_tokens.sum() < 0.9 * 4 * sum(LENGTHS), "too few or too many are pruned"
    found.loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    expected = [reference_forward(model, row) for row in rows]
    torch.nn.functional.cross_entropy(torch.cat([one.logits for one in expected]), labels).backward()
    for index, one in enumerate(expected):
        torch.testing.assert_close(found.logits[index], one.logits[0])
        assert found.kept[index, : len(rows[index])].tolist() == one.kept.tolist()
        assert found.ffn_tokens[index].tolist() == one.ffn_tokens
    assert "threshold_deltas" not in gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad)
    model.zero_grad()
    with torch.no_grad():  # by the other path, in evaluation
        torch.testing.assert_close(model.eval()(**tiny.batch(rows)).logits, found.logits)


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(MODELS)), st.lists(st.integers(1, 16), min_size=1, max_size=6), st.integers(0, 9),
    st.booleans(), st.integers(0, 1000),
)  # fmt: skip
def test_batch_mates_and_padding_change_nothing(which, lengths, extra, left, seed):
    model, rows = MODELS[which].eval(), tiny.sentences(lengths, seed)
    with torch.no_grad():
        found = model(**tiny.batch(rows, extra, left), return_kept=True)
        for index, row in enumerate(rows):
            alone = model(row[None], return_kept=True)
            torch.testing.assert_close(found.logits[index], alone.logits[0])
            real = found.kept[index][-len(row) :] if left else found.kept[index][: len(row)]
            assert torch.equal(real, alone.kept[0])
            assert real[0] == 4 and alone.ffn_tokens[0, -1] >= 1


@relative
def test_training_on_shares_keeps_them_and_evaluation_does_not(kind, scoring):
    """Thresholds that are set to what a batch was trained on give the same answers."""
    model, batch = tiny.scored_model(kind, scoring), tiny.batch(tiny.sentences(LENGTHS), extra=1)
    before = model.eval()(**batch)
    shares = [1.0, 0.6, 0.4, 0.0]
    model.train_on_shares(shares)
    trained = model.train()(**batch)
    for share, count in zip(shares, trained.ffn_tokens.sum(0).tolist(), strict=True):
        # The median of each of the five sentences scores 0: they stay or go together.
        assert 0 <= count - max(5, round(share * sum(LENGTHS))) < 5
    assert torch.equal(model.eval()(**batch).logits, before.logits)
    model.train_on_shares(None)
    keep_shares(model, batch, shares)
    for mode in (True, False):
        found = model.train(mode)(**batch)
        torch.testing.assert_close(found.logits, trained.logits)
        assert torch.equal(found.ffn_tokens, trained.ffn_tokens)


@relative
def test_layers_that_need_no_scores(kind, scoring):
    """At KEEP_ALL a layer drops nothing, at KEEP_FIRST all but the first token; the last then at no loss."""
    model, batch = tiny.scored_model(kind, scoring), tiny.batch(tiny.sentences(LENGTHS))
    with torch.no_grad():
        model.threshold_deltas.fill_(KEEP_ALL)
        dense = model(**batch)
        assert dense.ffn_tokens.tolist() == [[length] * 4 for length in LENGTHS]
        model.threshold_deltas[-1] = KEEP_FIRST
        last = model(**batch, return_kept=True)
        assert last.ffn_tokens[:, -1].tolist() == [1] * 5 and torch.equal(last.logits, dense.logits)
        assert last.kept[0].tolist() == [4] + [3] * 12
        model.threshold_deltas[1] = KEEP_FIRST
        early = model(**batch)
        assert early.ffn_tokens.tolist() == [[length, 1, 1, 1] for length in LENGTHS]
        torch.testing.assert_close(model.train()(**batch).logits, early.logits)
    rule = Rule("absolute_threshold", [KEEP_ALL, -0.5, KEEP_FIRST], centred=True)
    assert [rule.is_active(layer) for layer in range(3)] == [False, True, True]
    assert [rule.needs_scores(layer) for layer in range(3)] == [False, True, False]


@relative
def test_a_conversion_starts_without_pruning_and_is_saved_and_loaded(kind, scoring, tmp_path):
    base, batch = tiny.base_model(kind), tiny.batch(tiny.sentences(LENGTHS))
    base.save_pretrained(tmp_path / "base")
    (tmp_path / "base/tokenizer.json").write_text("{}")
    convert(tmp_path / "base", tmp_path / "converted", PruningSettings(scoring_mode=scoring))
    model = load_pruned(tmp_path / "converted")
    assert model.threshold_deltas.tolist() == [KEEP_ALL] * 4 == model.thresholds().tolist()
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, base(**batch).logits, atol=1e-5, rtol=0)
        model.threshold_deltas.copy_(torch.tensor(tiny.RELATIVE_THRESHOLDS))
        if scoring == "saliency":
            fit_saliency(model, [batch])
        model.save_pretrained(tmp_path / "saved")
        loaded = load_pruned(tmp_path / "saved")
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)
        torch.testing.assert_close(loaded.to_base()(**batch).logits, base(**batch).logits)


def test_soft_masks_are_refused_for_relative_scores():
    with pytest.raises(LTPError, match="scoring_mode: relative has no soft masks; expected mean"):
        tiny.scored_model("bert", "relative").use_soft_masks(0.01)


def test_gram_matrices_are_computed_once_and_anew_where_weights_change(monkeypatch):
    computed = []
    monkeypatch.setattr(
        prepacked_linear, "head_gram", lambda weight, heads: computed.append(1) or head_gram(weight, heads)
    )
    model = tiny.scored_model("bert", "contribution").float()
    batch = tiny.batch(tiny.sentences(LENGTHS))
    with torch.no_grad():
        first = model(**batch)
        assert len(computed) == 4 and torch.equal(model(**batch).logits, first.logits) and len(computed) == 4
        for layer in model.bert.encoder.layer:
            layer.attention.output.dense.weight.data *= -2.0  # uncounted by torch
        changed = model(**batch)
        assert len(computed) == 8
        fresh = tiny.scored_model("bert", "contribution").float()
        fresh.load_state_dict(model.state_dict())
        assert torch.equal(changed.ffn_tokens, fresh(**batch).ffn_tokens)
