"""The score that predicts what an answer depends on: fitted as it is defined, and what the model does with it."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from helpers import tiny
from safetensors.torch import load_file
from sklearn.linear_model import Ridge

from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.models.attention import packed_attention
from ltp.models.calibration import calibrate
from ltp.models.heads import IGNORED
from ltp.models.loading import load_pruned
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.saliency import LIMITS, RIDGE, _Fit, fit_saliency, lacks_saliency
from ltp.settings.pruning import KEEP_ALL, PruningSettings
from ltp.training.sample import batches

LENGTHS = [13, 4, 9, 2, 7, 11, 12, 8]
SALIENCY = PruningSettings(scoring_mode="saliency")
GATED = ("bert", "roberta", "electra")  # whose library's layers take a mask that is added to the scores


def fresh(kind: str = "bert", **config) -> LTPForSequenceClassification:
    return LTPForSequenceClassification.from_base(tiny.base_model(kind, **config), SALIENCY)


def saliencies(base, row) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """States (N, H) that enter each layer of the Hugging Face model, and the logarithms of the tokens' saliency (N,).

    The gates are masks that the layers' own attention adds to its scores.
    """
    base.set_attn_implementation("eager")
    layers, states, gates, handles = base.base_model.encoder.layer, [], [], []

    def gate(module, arguments, options):
        hidden = arguments[0] if arguments else options["hidden_states"]
        states.append(hidden[0].detach().double().numpy())
        gates.append(torch.zeros(1, 1, 1, hidden.shape[1], requires_grad=True))
        mask = gates[-1].expand(-1, -1, hidden.shape[1], -1)
        if len(arguments) > 1:
            return (hidden, mask, *arguments[2:]), options
        return arguments, {**options, "attention_mask": mask}

    for layer in layers:
        handles.append(layer.register_forward_pre_hook(gate, with_kwargs=True))
    probabilities = base(row[None]).logits[0].softmax(-1)
    for handle in handles:
        handle.remove()
    largest = probabilities.max()
    gradients = torch.autograd.grad((largest / (1 - largest)).log(), gates)
    found, later = [], 0.0
    for gradient in reversed(gradients):
        later = later + gradient[0, 0, 0].double()
        logs = later.abs().clamp(min=1e-9).log()
        middle = logs.sort().values[(len(row) - 1) // 2]
        found.insert(0, (logs - middle).clamp(*LIMITS).numpy())
    return states, found


@pytest.mark.parametrize("kind", GATED)
def test_probes_are_fitted_as_defined(kind):
    """In any batches, with any padding; pruning plays no part, and the model is afterwards as it was."""
    rows, base = tiny.sentences(LENGTHS), tiny.base_model(kind)
    examples = [saliencies(base, row) for row in rows]
    for pruned in (False, True):
        model = fresh(kind).train()
        assert lacks_saliency(model)
        if pruned:
            model.set_thresholds(tiny.RELATIVE_THRESHOLDS)
            model.saliency_probes.fill_(0.5)
        thresholds = model.thresholds()
        fit_saliency(model, [tiny.batch(rows[:2], extra=3), tiny.batch(rows[2:])])
        for layer, probe in enumerate(model.saliency_probes):
            states = np.concatenate([one[0][layer][1:] for one in examples])
            wanted = np.concatenate([one[1][layer][1:] for one in examples])
            alpha = RIDGE * len(states) * states.var(0).mean()
            ridge = Ridge(alpha).fit(states, wanted)
            expected = np.append(ridge.coef_, ridge.intercept_)
            assert np.abs(expected[:-1]).max() > 0.05
            np.testing.assert_allclose(probe.numpy(), expected, atol=2e-3, rtol=1e-2)
        assert model.training and torch.equal(model.thresholds(), thresholds) and not lacks_saliency(model)
        assert "rule" not in vars(model) and all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("labels", [1, 3])
def test_every_encoder_is_fitted_whatever_the_batches(kind, labels):
    rows = tiny.sentences(LENGTHS)
    models = [fresh(kind, labels=labels).double() for _ in range(2)]
    fit_saliency(models[0], [tiny.batch(rows)])
    fit_saliency(models[1], [tiny.batch([row], extra=2) for row in rows])
    torch.testing.assert_close(models[0].saliency_probes, models[1].saliency_probes, atol=1e-4, rtol=1e-3)
    assert models[0].saliency_probes.abs().amax(1).min() > 1e-3


@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification", "QuestionAnswering"])
def test_where_every_token_has_an_answer_what_it_misses_counts(head):
    """Without values attention passes nothing on: all that a token that leaves can change is its own state."""
    model = tiny.scored_model("bert", "saliency", head=head).float()
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.attention.self.value.weight.zero_()
            layer.attention.self.value.bias.zero_()
    fit_saliency(model, [tiny.batch(tiny.sentences(LENGTHS))])
    largest = model.saliency_probes.abs().amax(1)
    assert largest.max() < 1e-6 if head == "SequenceClassification" else largest.min() > 1e-3


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_what_a_token_gives_to_the_mean_counts(pooling):
    """Without values attention passes nothing on: only the mean that a head reads depends on the other tokens."""
    model = fresh("modernbert", classifier_pooling=pooling)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.attn.Wqkv.weight[2 * model.config.hidden_size :].zero_()
    fit_saliency(model, [tiny.batch(tiny.sentences(LENGTHS))])
    largest = model.saliency_probes[:, :-1].abs().amax(1)
    assert largest.max() < 1e-6 if pooling == "cls" else largest.min() > 1e-3


def test_answers_of_tokens_without_a_label_do_not_count():
    """Without values each token's answer depends on itself alone: where only first tokens have labels, on no other."""
    model = tiny.scored_model("bert", "saliency", head="TokenClassification").float()
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.attention.self.value.weight.zero_()
            layer.attention.self.value.bias.zero_()
    rows = tiny.sentences(LENGTHS)
    labels = [[0] + [IGNORED] * (length - 1) for length in LENGTHS]
    (batch,) = batches(model, [{"input_ids": row, "labels": own} for row, own in zip(rows, labels, strict=True)])
    fit_saliency(model, [batch])
    assert model.saliency_probes[:, :-1].abs().max() < 1e-6


def test_gates_are_added_to_the_scores_of_keys():
    """In blocks of sentences too: a gate of -∞ is as good as no token."""
    lengths = torch.tensor([4, 3])
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(7, 8, generator=generator) for _ in range(3))
    seq_ids, gates = torch.tensor([0, 0, 0, 0, 1, 1, 1]), torch.zeros(7)
    plain, _ = packed_attention(query, key, value, seq_ids, lengths, 2)
    gated, _ = packed_attention(query, key, value, seq_ids, lengths, 2, gates=gates)
    torch.testing.assert_close(gated, plain)
    gates[2] = -torch.inf
    gated, _ = packed_attention(query, key, value, seq_ids, lengths, 2, gates=gates)
    rows = torch.tensor([0, 1, 3])
    without, _ = packed_attention(query[rows], key[rows], value[rows], seq_ids[rows], torch.tensor([3]), 2)
    torch.testing.assert_close(gated[rows], without)
    torch.testing.assert_close(gated[4:], plain[4:])


def test_a_token_of_a_higher_score_stays():
    """The score is the state's product with the probe, less the sentence's median."""
    model = fresh().eval()
    row = torch.tensor([[2, 40, 17, 23, 8, 31, 5]])
    with torch.no_grad():
        states = model.bert.embeddings(row)[0]
        model.saliency_probes[0, :-1] = states[3] / states[3].norm()
        scores = states @ model.saliency_probes[0, :-1]
        median, middle = scores.median(), scores[1:].sort().values[2:4].mean().item()
        model.set_thresholds([middle - median, KEEP_ALL, KEEP_ALL, KEEP_ALL])
        kept = model(row, return_kept=True).kept[0]
    assert kept.tolist() == [4 if index == 0 or score >= middle else 0 for index, score in enumerate(scores.tolist())]
    assert kept[3] == 4 and sorted(kept.tolist()) == [0, 0, 0, 4, 4, 4, 4]


def test_they_are_saved_and_loaded_and_new_ones_are_zero(tmp_path):
    model = fresh()
    fit_saliency(model, [tiny.batch(tiny.sentences(LENGTHS))])
    model.save_pretrained(tmp_path)
    assert torch.equal(load_pruned(tmp_path).saliency_probes, model.saliency_probes)
    again = LTPForSequenceClassification.from_base(model.to_base(), SALIENCY)
    assert not again.saliency_probes.any() and lacks_saliency(again)
    assert not lacks_saliency(LTPForSequenceClassification.from_base(model.to_base(), PruningSettings()))
    assert "saliency_probes" not in model.to_base().state_dict()


def test_sixteen_bits_leave_them_and_thresholds_exact(tmp_path):
    """However the model comes to them."""
    model = tiny.scored_model("bert", "saliency").float()
    model.save_pretrained(tmp_path)
    loaded = LTPForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for found in (copy.deepcopy(model).to(torch.bfloat16), loaded):
        assert torch.equal(found.saliency_probes, model.saliency_probes)
        assert torch.equal(found.threshold_deltas, model.threshold_deltas)
        assert found.classifier.weight.dtype == torch.bfloat16
    batch = tiny.batch(tiny.sentences(LENGTHS))
    with torch.inference_mode():
        expected = copy.deepcopy(model).to(torch.bfloat16).eval()(**batch)
        assert torch.equal(loaded.eval()(**batch).ffn_tokens, expected.ffn_tokens)


def test_tokens_that_never_leave_teach_nothing():
    """As a sentence of a first token alone, and questions that are protected."""
    model = fresh()
    fit_saliency(model, [tiny.batch(tiny.sentences([1]))])
    assert not model.saliency_probes.any()
    rows = tiny.sentences(LENGTHS)
    protected = fresh()
    protected.config.protected_until = 2
    for row in rows:
        row[len(row) // 2] = 2
    fit_saliency(protected, [tiny.batch(rows)])
    states, wanted = [], []
    for row in rows:
        found, saliency = saliencies(tiny.base_model("bert"), row)
        states.append(found[1][len(row) // 2 + 1 :])
        wanted.append(saliency[1][len(row) // 2 + 1 :])
    states, wanted = np.concatenate(states), np.concatenate(wanted)
    expected = Ridge(RIDGE * len(states) * states.var(0).mean()).fit(states, wanted).coef_
    np.testing.assert_allclose(protected.saliency_probes[1, :-1], expected, atol=2e-3, rtol=1e-2)


def test_states_far_from_zero_change_no_decision():
    """What all states share goes into the intercept: without one, a shift of some tens leaves no finite score."""
    rows, models = tiny.sentences(LENGTHS), [fresh() for _ in range(2)]
    with torch.no_grad():
        for layer in models[1].bert.encoder.layer[:-1]:  # a shift that what reads the states takes away again
            shift = torch.linspace(-60.0, 60.0, 32)
            layer.output.LayerNorm.bias.add_(shift)
        for layer in models[1].bert.encoder.layer[1:]:
            inner = (layer.attention.self.query, layer.attention.self.key, layer.attention.self.value)
            for module in inner:
                module.bias.sub_(module.weight @ shift)
            layer.attention.output.dense.bias.sub_(shift)
    for model in models:
        model.double()
        fit_saliency(model, [tiny.batch(rows)])
        model.set_thresholds([KEEP_ALL, 0.0, 0.0, 0.0])
        model.eval()
    with torch.no_grad():
        found = [model(**tiny.batch(rows)).ffn_tokens for model in models]
    assert torch.equal(*found) and found[0][:, 1].sum() < sum(LENGTHS)


def test_states_that_are_all_one_teach_nothing():
    fit = _Fit(4, torch.device("cpu"))
    fit.add(torch.full((7, 4), 3.7), torch.linspace(-1.0, 5.0, 7))
    weights, intercept = fit.solve().split([4, 1])
    assert weights.abs().max() < 1e-4 and intercept.item() == pytest.approx(2.0, abs=1e-3)


def test_probes_that_are_not_fitted_are_refused(tmp_path):
    """Wherever a layer is to decide by them."""
    model = fresh()
    with pytest.raises(LTPError, match="saliency_probes: all 0, so that no token scores above another; ltp train and"):
        calibrate(model, [tiny.batch(tiny.sentences(LENGTHS))], 0.5)
    model.set_thresholds(tiny.RELATIVE_THRESHOLDS)
    model.save_pretrained(tmp_path)
    with pytest.raises(LTPError, match="is not trained, its saliency_probes are all 0; run ltp train"):
        load_pruned(tmp_path)


def test_what_cannot_be_fitted_is_said_in_a_line(tmp_path):
    batches = [tiny.batch(tiny.sentences(LENGTHS))]
    other = LTPForSequenceClassification.from_base(tiny.base_model("bert"), PruningSettings(scoring_mode="relative"))
    with pytest.raises(LTPError, match="scoring_mode: 'relative' has no probes; expected 'saliency'"):
        fit_saliency(other, batches)
    broken = fresh()
    with torch.no_grad():
        broken.bert.encoder.layer[1].output.dense.weight[0, 0] = torch.nan
    with pytest.raises(LTPError, match="states or gradients are not finite numbers; train it anew"):
        fit_saliency(broken, batches)
    other.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"scoring_mode": "saliency"}))
    with pytest.raises(
        LTPError, match=r"'saliency' in config\.json, but the weights have no saliency_probes; expected"
    ):
        load_pruned(tmp_path)


def test_inference_mode_is_no_hindrance():
    models = [fresh() for _ in range(2)]
    batches = [tiny.batch(tiny.sentences(LENGTHS))]
    fit_saliency(models[0], batches)
    with torch.inference_mode():
        fit_saliency(models[1], batches)
    assert torch.equal(*(model.saliency_probes for model in models))


def test_a_conversion_holds_probes_that_are_yet_to_be_fitted(tmp_path):
    base = tiny.base_model("roberta")
    base.save_pretrained(tmp_path / "base")
    (tmp_path / "base/tokenizer.json").write_text("{}")
    convert(tmp_path / "base", tmp_path / "converted", SALIENCY)
    probes = load_file(tmp_path / "converted/model.safetensors")["saliency_probes"]
    assert probes.shape == (4, 33) and not probes.any()
    assert lacks_saliency(load_pruned(tmp_path / "converted"))


def test_long_sentences_are_fitted_in_smaller_batches():
    """A layer keeps a number for each pair of a sentence's tokens; without a limit only the tokens count."""
    examples = [{"input_ids": list(range(3, 3 + length))} for length in (8, 8, 8, 8, 8)]
    sizes = [len(batch["input_ids"]) for batch in batches(fresh(), examples, tokens=32, pairs=128)]
    assert sizes == [2, 2, 1]
    assert [len(batch["input_ids"]) for batch in batches(fresh(), examples, tokens=32)] == [4, 1]
    assert [len(batch["input_ids"]) for batch in batches(fresh(), examples, tokens=32, pairs=1)] == [1] * 5
