"""Heads that read all tokens: labels of tokens, and answers to questions. A dropped token keeps its last state."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny
from helpers.reference_model import forward as reference_forward
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification

from ltp.models.calibration import calibrate, measure
from ltp.models.flops import Sizes
from ltp.models.heads import PADDING_LOGIT, LTPForQuestionAnswering, LTPForTokenClassification
from ltp.models.last_states import ExpectedStates, LastStates
from ltp.models.loading import MODELS, load_pruned
from ltp.models.schedule import cost, shares_for
from ltp.settings.pruning import PruningSettings

HEADS = ("TokenClassification", "QuestionAnswering")
KINDS = ("bert", "roberta")  # the architectures that have these heads here
PRUNE_MODES = list(tiny.PRUNING)
LENGTHS = [13, 4, 9, 2, 7]
NONE = PruningSettings(prune_mode="none")
KEPT_ALL = "nothing is pruned here, so this test would show nothing"


def cases(function):
    return pytest.mark.parametrize("kind", KINDS)(pytest.mark.parametrize("head", HEADS)(function))


def labels_for(head: str, lengths=LENGTHS, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random labels: of every second token, or of the first and the last token of an answer."""
    generator = torch.Generator().manual_seed(seed)
    if head == "QuestionAnswering":
        places = [torch.randint(0, length, (2,), generator=generator).sort().values for length in lengths]
        start, end = torch.stack(places).unbind(1)
        return {"start_positions": start, "end_positions": end}
    labels = torch.full((len(lengths), max(lengths)), -100)
    for row, length in enumerate(lengths):
        labels[row, 0:length:2] = torch.randint(0, 3, (len(range(0, length, 2)),), generator=generator)
    return {"labels": labels}


def loss_of(head: str, logits: list[torch.Tensor], labels: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss restated, from each sentence's own logits (N, C)."""
    if head == "QuestionAnswering":
        sides = enumerate((labels["start_positions"], labels["end_positions"]))
        losses = [
            functional.cross_entropy(one[None, :, side], wanted[row : row + 1])
            for side, wanted in sides
            for row, one in enumerate(logits)
        ]
        return torch.stack(losses).mean()
    wanted = [labels["labels"][row, : len(one)] for row, one in enumerate(logits)]
    return functional.cross_entropy(torch.cat(logits), torch.cat(wanted))


def same_gradients(model, gradients: dict[str, torch.Tensor]) -> None:
    assert set(gradients) == {name for name, weight in model.named_parameters() if weight.grad is not None}
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad)


def gradients_of(model) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@cases
def test_unpruned_is_the_base_model(head, kind):
    base, batch = tiny.base_model(kind, head=head), tiny.batch(tiny.sentences(LENGTHS), extra=3)
    model = MODELS[head][1].from_base(base, NONE)
    with torch.no_grad():
        found, expected = model(**batch, return_kept=True), base(**batch)
    names = ("start_logits", "end_logits") if head == "QuestionAnswering" else ("logits",)
    for name in names:
        for row, length in enumerate(LENGTHS):
            torch.testing.assert_close(found[name][row, :length], expected[name][row, :length], atol=1e-5, rtol=0)
        empty = PADDING_LOGIT if head == "QuestionAnswering" else 0.0
        assert (found[name][batch["attention_mask"] == 0] == empty).all()
    assert found.attention_tokens.tolist() == found.ffn_tokens.tolist() == [[length] * 4 for length in LENGTHS]
    assert torch.equal(found.kept, 4 * batch["attention_mask"])


@cases
def test_the_loss_is_the_base_model_s_where_nothing_is_padding(head, kind):
    base, batch, labels = (
        tiny.base_model(kind, head=head),
        tiny.batch(tiny.sentences([9] * 5)),
        labels_for(head, [9] * 5),
    )
    with torch.no_grad():
        found, expected = MODELS[head][1].from_base(base, NONE)(**batch, **labels), base(**batch, **labels)
    torch.testing.assert_close(found.loss, expected.loss, atol=1e-5, rtol=0)


@cases
@pytest.mark.parametrize("mode", PRUNE_MODES)
def test_agrees_with_one_sentence_at_a_time(head, kind, mode):
    """Dropped tokens put back in a packed batch, or left where they are in a sentence: all is the same."""
    model, rows, labels = tiny.pruning_model(kind, mode, head).train(), tiny.sentences(LENGTHS), labels_for(head)
    found = model(**tiny.batch(rows), **labels, return_kept=True)
    assert found.ffn_tokens.sum() < 0.9 * 4 * sum(LENGTHS), KEPT_ALL
    found.loss.backward()
    gradients = gradients_of(model)
    model.zero_grad()
    expected = [reference_forward(model, row) for row in rows]
    loss = loss_of(head, [one.logits for one in expected], labels)
    torch.testing.assert_close(found.loss, loss)
    loss.backward()
    for index, one in enumerate(expected):
        torch.testing.assert_close(found.logits[index, : LENGTHS[index]], one.logits)
        assert found.kept[index, : LENGTHS[index]].tolist() == one.kept.tolist()
        assert found.ffn_tokens[index].tolist() == one.ffn_tokens
    same_gradients(model, gradients)


@cases
def test_soft_masks_agree_with_one_sentence_at_a_time(head, kind):
    """The head sees each token's expected last state."""
    model, rows, labels = tiny.pruning_model(kind, head=head).train(), tiny.sentences(LENGTHS), labels_for(head)
    model.use_soft_masks(0.01)
    found = model(**tiny.batch(rows, extra=0), **labels)
    (found.loss + 0.3 * found.regulariser).backward()
    gradients = gradients_of(model)
    model.zero_grad()
    expected = [reference_forward(model, row, temperature=0.01) for row in rows]
    regulariser = sum(one.masks for one in expected) / (len(rows) * tiny.SCORE_LENGTH)
    for index, one in enumerate(expected):
        torch.testing.assert_close(found.logits[index, : LENGTHS[index]], one.logits)
    (loss_of(head, [one.logits for one in expected], labels) + 0.3 * regulariser).backward()
    assert gradients["threshold_deltas"].abs().min() > 0
    same_gradients(model, gradients)


@settings(max_examples=40)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(HEADS),
    st.sampled_from(PRUNE_MODES),
    st.lists(st.integers(1, 16), min_size=1, max_size=6),
    st.integers(0, 9),
    st.booleans(),
    st.integers(0, 1000),
)
def test_batch_mates_and_padding_change_nothing(kind, head, mode, lengths, extra, left, seed):
    """A sentence's logits are its own: alone, in any batch, under any padding on any side."""
    model, rows = PRUNING_MODELS[kind, head, mode], tiny.sentences(lengths, seed)
    with torch.no_grad():
        found = model(**tiny.batch(rows, extra, left), return_kept=True)
        for index, row in enumerate(rows):
            alone = model(row[None], return_kept=True)
            own = slice(found.kept.shape[1] - len(row), None) if left else slice(0, len(row))
            torch.testing.assert_close(found.logits[index, own], alone.logits[0])
            assert torch.equal(found.kept[index, own], alone.kept[0])
            assert torch.equal(found.ffn_tokens[index], alone.ffn_tokens[0])


PRUNING_MODELS = {
    (kind, head, mode): tiny.pruning_model(kind, mode, head) for kind in KINDS for head in HEADS for mode in PRUNE_MODES
}


@cases
def test_saved_and_loaded_again(head, kind, tmp_path):
    """By its own head's Auto class, and by load_pruned, which reads the head in config.json."""
    model, batch = tiny.pruning_model(kind, head=head).float(), tiny.batch(tiny.sentences(LENGTHS))
    model.threshold_deltas.data += torch.tensor([0.0, 0.004, -0.002, 0.001])
    model.save_pretrained(tmp_path)
    auto = {"TokenClassification": AutoModelForTokenClassification, "QuestionAnswering": AutoModelForQuestionAnswering}
    with torch.no_grad():
        expected = model.eval()(**batch)
        for loaded in (auto[head].from_pretrained(tmp_path), load_pruned(tmp_path)):
            assert type(loaded) is {"T": LTPForTokenClassification, "Q": LTPForQuestionAnswering}[head[0]]
            assert torch.equal(loaded.eval()(**batch).logits, expected.logits)
        model.to_base().save_pretrained(tmp_path / "base")
        unpruned = load_pruned(tmp_path / "base")
    assert type(unpruned) is type(model) and unpruned.config.prune_mode == "none"


@cases
def test_no_sentences_give_no_answers(head, kind):
    model = tiny.pruning_model(kind, head=head)
    empty = torch.zeros(0, 7, dtype=torch.long)
    found = model(empty, return_kept=True)
    assert found.logits.shape == (0, 7, 2 if head == "QuestionAnswering" else 3)
    assert found.attention_tokens.shape == (0, 4) and found.kept.shape == (0, 7)


@cases
def test_a_budget_is_met_and_the_last_layer_keeps_tokens(head, kind):
    model = MODELS[head][1].from_base(tiny.base_model(kind, head=head), PruningSettings(scoring_mode="contribution"))
    batches = [tiny.batch(tiny.sentences([16, 12, 14, 15, 13, 11], seed)) for seed in range(8)]
    assert calibrate(model, batches, 0.6) == pytest.approx(0.6, abs=0.02) == measure(model, batches)
    counts = model(**batches[0]).ffn_tokens
    assert counts[:, -1].sum() > 6 and (counts[:, 0] == batches[0]["attention_mask"].sum(1)).all()


def test_where_all_tokens_are_read_they_go_through_the_first_layers_and_leave_late():
    lengths = torch.tensor([20, 30, 40]).numpy()
    for target in (1.0, 0.9, 0.5, 0.3):
        shares = shares_for(target, 6, lengths, Sizes(32, 64), every_token=True)
        assert shares == sorted(shares, reverse=True) and shares[-1] >= 0.1
        assert cost(shares, lengths, Sizes(32, 64)) == pytest.approx(target, abs=1e-6)
        assert shares[0] == 1.0 or target < 0.5
    assert cost(shares_for(0.15, 6, lengths, Sizes(32, 64), every_token=True), lengths, Sizes(32, 64)) == pytest.approx(
        0.15
    )


def test_expected_states_under_masks_of_zeros_and_ones_are_last_states():
    """Five tokens, two layers: the first drops tokens 1 and 3, the second token 4."""
    embedded, first, second = torch.randn(3, 5, 2).unbind(0)
    hard, soft = LastStates(embedded), ExpectedStates(embedded)
    kept = torch.tensor([0, 2, 4])
    hard.drop(embedded, kept)
    hard.drop(first[kept], torch.tensor([0, 1]))
    soft.weigh(torch.tensor([1.0, 0, 1, 0, 1]))
    soft.update(first)
    soft.weigh(torch.tensor([1.0, 1, 1, 0, 0]))
    soft.update(second)
    expected = torch.stack([second[0], embedded[1], second[2], embedded[3], first[4]])
    assert torch.equal(hard.all(second[[0, 2]]), expected) and torch.equal(soft.all(), expected)
