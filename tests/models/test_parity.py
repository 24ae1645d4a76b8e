"""Agreement with the original implementation, to 1e-4; and each place where we differ on purpose.

`tests/parity/README.md` says what the numbers are. Thresholds are set as the original had them, all through
``threshold_deltas`` (the configured part is 0): it counts layers from 0 where we count from 1. A threshold of 0
prunes nothing, which is how the original's first layer skips. Its scores divide by the padded length, 24 here.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import RobertaConfig, RobertaForSequenceClassification

from ltp.models.attention import packed_attention
from ltp.models.flops import Sizes, encoder_macs, summarise
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.pruning import keep_topk, topk_keep_rates
from ltp.settings.pruning import PruningSettings

FOLDER = Path(__file__).parents[1] / "parity"
CONFIG, CASES = (json.loads((FOLDER / "cases.json").read_text())[key] for key in ("config", "cases"))
HARD = [name for name, case in CASES.items() if case["mode"] == "eval"]
SOFT = [name for name, case in CASES.items() if case["masking"] == "soft"]
PADDED = 24
LABELS = torch.tensor([1, 0, 1, 1, 0, 0])
OFF = -1e3  # a threshold so low that every soft mask is exactly 1, and its gradient exactly 0


@cache
def tensors(case: str) -> dict[str, Tensor]:
    everything = load_file(FOLDER / "cases.safetensors")
    return {name.split("/")[1]: value for name, value in everything.items() if name.startswith(f"{case}/")}


def inputs(rows: list[int] | None = None) -> dict[str, Tensor]:
    chosen = slice(None) if rows is None else rows
    return {name: value[chosen] for name, value in tensors("inputs").items()}


def load_model(case: str, skipped: float = 0.0, **changed) -> LTPForSequenceClassification:
    """The model of a case, in evaluation mode; layers that the original skips get the threshold ``skipped``."""
    facts = CASES[case]
    base = RobertaForSequenceClassification(RobertaConfig(**CONFIG, num_labels=2, num_hidden_layers=int(case[-2])))
    base.load_state_dict(load_file(FOLDER / f"{facts['weights']}.safetensors"))
    mode, kwargs = facts["prune_mode"] or "none", facts["prune_kwargs"] or {}
    keys = {
        "absolute_threshold": {"final_token_threshold": 0.0},
        "threshold": {"final_token_threshold": kwargs.get("token_threshold", 0.0)},
        "topk": {"token_keep_rate": kwargs.get("token_keep_rate", 1.0)},
        "none": {},
    }[mode]
    pruning = PruningSettings(**{"prune_mode": mode, "score_length": PADDED, **keys, **changed})
    model = LTPForSequenceClassification.from_base(base.eval(), pruning)
    if mode == "absolute_threshold":
        scored = [value or skipped for value in facts["thresholds_per_layer"]]
        model.threshold_deltas.data = torch.tensor(scored)
    return model


def first_token_lost(case: str) -> Tensor:
    """(L, B) bool: where the original dropped a sentence's first token, which we keep."""
    alive = CASES[case].get("cls_kept_after_layer")
    layers = int(case[-2])
    return torch.zeros(layers, 6, dtype=torch.bool) if alive is None else torch.tensor(alive) == 0


def lived(case: str) -> Tensor:
    """(B, N) through how many layers each real token lived in the original."""
    mask, found = inputs()["attention_mask"], tensors(case)
    layers = range(int(case[-2]))
    return sum(
        (found[f"keep_mask.{layer}"].long() * mask if f"keep_mask.{layer}" in found else mask) for layer in layers
    )


def comparable(case: str) -> Tensor:
    """(B,) bool: sentences whose logits must agree: the first token was alive in every layer that feeds another.

    The last layer's decision comes too late to change the logits.
    """
    return ~first_token_lost(case)[:-1].any(0)


def original_gradients(case: str) -> dict[str, Tensor]:
    found = tensors(case).items()
    return {name.removeprefix("grad."): value for name, value in found if name.startswith("grad.")}


def close(ours: Tensor | float, theirs: Tensor | float) -> None:
    torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(theirs), atol=1e-4, rtol=1e-4)


def test_every_kind_of_case_is_here():
    assert len(HARD) == 8 and len(SOFT) == 2 and len(CASES) == 11
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    unlike = {case: (~comparable(case)).nonzero().flatten().tolist() for case in HARD}
    assert {case: rows for case, rows in unlike.items() if rows} == {"topk_0.5_6l": [5]}


@pytest.mark.parametrize("case", HARD)
def test_hard_pruning(case):
    expected, same = tensors(case), comparable(case)
    with torch.no_grad():
        found = load_model(case)(**inputs(), return_kept=True)
    close(found.logits[same], expected["logits"][same])
    if same.all():
        close(found.loss, expected["loss"])

    # The first token, and the token that it displaces from the k best, may differ where the original dropped it.
    whole = ~first_token_lost(case).any(0)
    assert whole.sum() >= 2
    assert torch.equal(found.kept[whole], lived(case)[whole])
    assert torch.equal(found.attention_tokens[whole], expected["attention_sentence_lengths"].T[whole])
    assert torch.equal(found.ffn_tokens[whole], expected["ffn_sentence_lengths"].T[whole])
    sizes = Sizes(CONFIG["hidden_size"], CONFIG["intermediate_size"])
    macs = torch.tensor(encoder_macs(found.attention_tokens, found.ffn_tokens, sizes))
    assert torch.equal(macs[whole].long(), expected["macs"][whole])
    dense = inputs()["attention_mask"].sum(1)
    counted = summarise(
        expected["attention_sentence_lengths"].T.numpy(), expected["ffn_sentence_lengths"].T.numpy(), dense.numpy(),
        sizes,
    )  # fmt: skip
    close(counted["relative"], CASES[case]["relative_flops"])
    close(counted["dense_gflops"], 2e-9 * expected["baseline_macs"].double().mean().item())
    if whole.all():
        close(macs.sum().item() / expected["baseline_macs"].sum().item(), CASES[case]["relative_flops"])


@pytest.mark.parametrize("case", HARD)
def test_first_token_is_kept_where_the_original_drops_it(case):
    lost = first_token_lost(case)
    with torch.no_grad():
        found = load_model(case)(**inputs(), return_kept=True)
    assert (found.kept[:, 0] == len(lost)).all()
    ours, theirs = found.ffn_tokens[:, -1], tensors(case)["ffn_sentence_lengths"][-1]
    only_last = lost[-1] & ~lost[:-1].any(0)
    # By threshold it stays beside the others, by top-k in place of the least of them (or alone, where k is 0).
    added = 0 if CASES[case]["prune_mode"] == "topk" else 1
    assert torch.equal(ours[only_last], (theirs[only_last] + added).clamp(min=1))
    others = found.kept[only_last, 1:] - lived(case)[only_last, 1:]
    assert (others <= 0).all() if added == 0 else (others == 0).all()


def test_hard_training():
    case = "hardtrain_0.04_deltaA_4l"
    expected = tensors(case)
    model = load_model(case).train()
    found = model(**inputs(), return_kept=True)
    found.loss.backward()
    close(found.logits, expected["logits"])
    close(found.loss, expected["ce_loss"])
    close(found.loss, expected["total_loss"])  # no regulariser
    assert found.regulariser is None and CASES[case]["regulariser"] == 0.0
    mask = inputs()["attention_mask"]
    assert torch.equal(found.kept, sum(expected[f"hard_keep_mask.{layer}"].long() * mask for layer in range(4)))
    weights = dict(model.named_parameters())
    gradients = original_gradients(case)
    assert len(gradients) == 5
    for name, value in gradients.items():
        close(weights[name].grad, value)
    assert model.threshold_deltas.grad is None


@pytest.mark.parametrize("case", SOFT)
def test_soft_training(case):
    """Padding positions come out of the original's regulariser and of its thresholds' gradients; the rest agrees.

    A layer that the original skips has no mask there; here its threshold is OFF, so that its masks are all 1.
    """
    facts, expected = CASES[case], tensors(case)
    temperature, lambda_ = facts["temperature"], facts["lambda_threshold"]
    batch = inputs()
    padding = batch["attention_mask"] == 0
    layers = [layer for layer in range(4) if f"soft_mask.{layer}" in expected]
    skipped = [layer for layer in range(4) if layer not in layers]
    assert skipped == ([0] if case == "soft_T0.01_0.05_4l" else [])

    model = load_model(case, skipped=OFF).train()
    model.use_soft_masks(temperature)
    found = model(**batch)
    (found.loss + lambda_ * found.regulariser).backward()
    close(found.logits, expected["logits"])
    close(found.loss, expected["ce_loss"])

    masks = {layer: expected[f"soft_mask.{layer}"] for layer in layers}
    of_padding = sum(mask[padding].sum() for mask in masks.values()) / padding.numel()
    of_skipped = len(skipped) * (~padding).sum() / padding.numel()
    regulariser = found.regulariser - of_skipped + of_padding
    close(regulariser, facts["regulariser"])
    close(found.loss + lambda_ * regulariser, expected["total_loss"])

    for layer, mask in masks.items():
        pushed = -(mask * (1 - mask))[padding].sum() / temperature / padding.numel()
        close(model.threshold_deltas.grad[layer] + lambda_ * pushed, expected[f"grad.keep_threshold.{layer}"])
    assert all(model.threshold_deltas.grad[layer] == 0 for layer in skipped)
    weights = dict(model.named_parameters())
    gradients = {name: value for name, value in original_gradients(case).items() if "keep_threshold" not in name}
    assert len(gradients) == 5
    for name, value in gradients.items():
        close(weights[name].grad, value)


# Where we differ on purpose. What concerns training (a clip of their own for thresholds, accumulation, λ or temperature
# left out) is in test_trainer.py and test_stages.py.


def test_layers_count_from_1_not_from_0():
    """θ_l = final · l/L as the original's README says; its code starts at l = 0 and never reaches ``final``."""
    model = load_model("abs_thr_0.045_4l", final_token_threshold=0.045)
    torch.nn.init.zeros_(model.threshold_deltas)
    close(model.thresholds(), torch.tensor([1, 2, 3, 4]) * 0.045 / 4)
    close(torch.tensor(CASES["abs_thr_0.045_4l"]["thresholds_per_layer"]), torch.tensor([0, 1, 2, 3]) * 0.045 / 4)


def test_score_divides_by_a_constant_not_by_the_padded_length():
    """The original's score halves when a batch is padded to twice its length, so it prunes more."""
    model, batch = load_model("abs_thr_0.045_4l"), inputs()
    ids, mask = (torch.nn.functional.pad(batch[n], (0, PADDED)) for n in ("input_ids", "attention_mask"))
    with torch.no_grad():
        found, padded = (
            model(**batch, return_kept=True),
            model(input_ids=ids, attention_mask=mask, return_kept=True),
        )
        as_original = load_model("abs_thr_0.045_4l", score_length=2 * PADDED)(ids, mask)
    close(padded.logits, found.logits)
    assert torch.equal(padded.kept[:, :PADDED], found.kept)
    assert as_original.ffn_tokens.sum() < found.ffn_tokens.sum()


def test_score_is_taken_before_attention_dropout():
    torch.manual_seed(0)
    states, sentence, lengths = torch.randn(3, 7, 8), torch.tensor([0, 0, 0, 1, 1, 1, 1]), torch.tensor([3, 4])
    context, received = packed_attention(*states, sentence, lengths, heads=2, return_received=True)
    dropped, same = packed_attention(*states, sentence, lengths, heads=2, return_received=True, dropout=0.5)
    assert torch.equal(received, same) and not torch.allclose(context, dropped)


def test_padding_does_not_push_on_thresholds():
    """In the original, a sentence padded further gives its thresholds another gradient."""
    case = "soft_T0.01_0.05_4l"
    model = load_model(case).train()
    model.use_soft_masks(CASES[case]["temperature"])
    gradients = []
    for padding in (0, PADDED):
        ids, mask = (torch.nn.functional.pad(inputs()[n], (0, padding)) for n in ("input_ids", "attention_mask"))
        found = model(ids, mask, labels=LABELS)
        gradients.append(torch.autograd.grad(found.loss + found.regulariser, model.threshold_deltas)[0])
    close(*gradients)
    assert gradients[0].abs().max() > 0.1
    masks = [value for name, value in tensors(case).items() if name.startswith("soft_mask")]
    padding = inputs()["attention_mask"] == 0
    assert sum(mask[padding].sum() for mask in masks) > 1  # in the original it does push


def test_topk_floors_at_0_where_the_original_stops_at_1_in_100():
    """As its README says; with a rate of 0 the first token alone is left, whatever the length."""
    assert topk_keep_rates(4, -0.5) == [1.0, 1.0, 1.0, 0.0]
    assert topk_keep_rates(6, -0.5) == pytest.approx([1, 1, 1, 0.5, 0, 0])
    lengths = torch.tensor([200])
    received, sentence = torch.rand(200) + 0.1, torch.zeros(200, dtype=torch.long)
    assert keep_topk(received, sentence, lengths, lengths, 0.0).nonzero().tolist() == [[0]]
    assert keep_topk(received, sentence, lengths, lengths, 0.01).sum() == 2


def test_rising_threshold_works():
    """The original's cannot be constructed. It is ``threshold`` with t · l/L, so it keeps at least as many."""
    with torch.no_grad():
        model = load_model("threshold_0.2_4l", prune_mode="rising_threshold")
        rising, flat = model(**inputs()), load_model("threshold_0.2_4l")(**inputs())
    close(model.thresholds(), torch.tensor([0.05, 0.1, 0.15, 0.2]))
    assert (rising.ffn_tokens[:, 0] >= flat.ffn_tokens[:, 0]).all()
    assert flat.ffn_tokens.sum() < rising.ffn_tokens.sum() < load_model("dense_4l")(**inputs()).ffn_tokens.sum()


@pytest.mark.parametrize("case", ["abs_thr_0.04_deltaA_4l", "topk_0.2_4l", "dense_4l"])
def test_a_batch_of_two_works(case):
    """The original takes its mask for a pair and crashes."""
    with torch.no_grad():
        close(load_model(case)(**inputs([1, 3])).logits, tensors(case)["logits"][[1, 3]])


def test_no_soft_mask_is_left_after_switching_to_hard():
    """The original goes on multiplying by the masks of its last soft step."""
    case = "soft_T0.01_0.05_4l"
    model, fresh = load_model(case).train(), load_model(case).train()
    model.use_soft_masks(CASES[case]["temperature"])
    model(**inputs())
    model.use_soft_masks(None)
    found, expected = model(**inputs()), fresh(**inputs())
    assert torch.equal(found.logits, expected.logits) and found.regulariser is None


def test_tokens_are_removed_not_masked():
    """The original's dead tokens pass through every projection; ours are no longer there."""
    model, rows = load_model("abs_thr_0.045_4l"), []
    for layer in model.encoder.encoder.layer:
        layer.intermediate.register_forward_hook(lambda module, given, _: rows.append(given[0].shape[0]))
    with torch.no_grad():
        found = model(**inputs())
    # The last layer computes the first token of each sentence, which is all that the classifier reads.
    assert rows[:-1] == found.ffn_tokens.sum(0).tolist()[:-1] and rows[-2] < rows[0] == 83
    assert rows[-1] == len(found.logits)


def test_thresholds_are_saved_whole():
    """The original keeps the configured part in a tensor that is in no checkpoint."""
    model = load_model("abs_thr_0.04_deltaA_4l")
    assert torch.equal(model.state_dict()["threshold_deltas"], model.thresholds())
    assert model.config.to_dict()["final_token_threshold"] == 0.0
