"""Attention by the kernels for GPUs: the real ones where there is a GPU, and plain ones in their place elsewhere."""

from __future__ import annotations

import importlib.util
import os
from itertools import pairwise

import pytest
import torch
from helpers import tiny

from ltp.models import gpu_attention, gpu_kernels
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.saliency import fit_saliency
from ltp.models.scores import SMALLEST_SCORE, centred_log
from ltp.settings.pruning import PruningSettings

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LENGTHS = [5, 70, 1, 130]
# make test has neither; what the kernels give is tested by their plain stand-ins then.
needs_triton = pytest.mark.skipif(
    not (importlib.util.find_spec("triton") and (torch.cuda.is_available() or INTERPRETED)),
    reason="needs Triton, and a GPU or TRITON_INTERPRET=1",
)


def plain_varlen(query, key, value, query_bounds, key_bounds, longest_query, longest_key, return_aux=None):
    """varlen_attn by its documentation: (T, A, D) in, sentence after sentence, int32 bounds (B + 1,)."""
    assert query_bounds.dtype == key_bounds.dtype == torch.int32
    contexts, sums = [], []
    for (start, stop), (first, last) in zip(
        pairwise(query_bounds.tolist()), pairwise(key_bounds.tolist()), strict=True
    ):
        assert stop - start <= longest_query and last - first <= longest_key
        scores = torch.einsum("qad,kad->aqk", query[start:stop], key[first:last]) * query.shape[-1] ** -0.5
        contexts.append(torch.einsum("aqk,kad->qad", scores.softmax(-1), value[first:last]))
        sums.append(scores.logsumexp(-1))
    return torch.cat(contexts) if return_aux is None else (torch.cat(contexts), torch.cat(sums, 1))


def plain_received(query, key, lse, cu_seqlens, longest):
    """What received_attention gives, by its definition."""
    received = []
    for start, stop in pairwise(cu_seqlens.tolist()):
        assert stop - start <= longest
        part = slice(start, stop)
        scores = torch.einsum("qad,kad->aqk", query[part], key[part]) * query.shape[-1] ** -0.5
        received.append((scores - lse[:, part, None]).exp().sum((0, 1)))
    return torch.cat(received)


@pytest.mark.parametrize(
    ("pruning", "calls"),
    [
        (PruningSettings(prune_mode="none"), (4, 0)),
        (tiny.PRUNING["absolute_threshold"], (4, 4)),
        (tiny.PRUNING["topk"], (4, 1)),
    ],
    ids=["none", "absolute_threshold", "topk"],
)
def test_a_model_gives_the_same_answers_by_them(monkeypatch, pruning, calls):
    model = LTPForSequenceClassification.from_base(tiny.base_model("bert"), pruning).double()
    batch = tiny.batch(tiny.sentences([13, 4, 9, 2, 7]))
    made = {"varlen": 0, "received": 0}

    def counted(name, function):
        def call(*arguments, **options):
            made[name] += 1
            return function(*arguments, **options)

        return call

    with torch.no_grad():
        expected = model(**batch)
        monkeypatch.setattr(gpu_attention, "varlen_attn", counted("varlen", plain_varlen))
        monkeypatch.setattr(gpu_kernels, "received_attention", counted("received", plain_received))
        monkeypatch.setattr(gpu_attention, "is_available", lambda *arguments: True)
        found = model(**batch)
    torch.testing.assert_close(found.logits, expected.logits)
    assert torch.equal(found.ffn_tokens, expected.ffn_tokens)
    assert (made["varlen"], made["received"]) == calls


def test_the_processor_does_not_use_them():
    assert not gpu_attention.is_available(torch.zeros(1, 16, dtype=torch.bfloat16), heads=2)


@needs_triton
@pytest.mark.parametrize(("heads", "head_size"), [(12, 32), (2, 24), (3, 64)])
def test_what_each_token_receives(heads, head_size):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    bounds = torch.tensor([0, *LENGTHS], dtype=torch.int32).cumsum(0).to(device, torch.int32)
    query, key = torch.randn(2, sum(LENGTHS), heads, head_size, device=device)
    lse = plain_varlen(query, key, key, bounds, bounds, 200, 200, return_aux=True)[1].contiguous()
    found = gpu_kernels.received_attention(query, key, lse, bounds, 200)
    # A GPU multiplies these in 10 bits of mantissa.
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if device == "cuda" else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found, plain_received(query, key, lse, bounds, 200), **tolerance)


@needs_triton
def test_logarithms_less_the_median_s():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lengths = torch.tensor([*LENGTHS, 2, 64, 128])
    received = torch.rand(int(lengths.sum()), generator=torch.Generator().manual_seed(0)) + 1e-3
    received[3] = 0.0
    seq_ids = torch.arange(len(lengths)).repeat_interleave(lengths)
    expected = centred_log(received, seq_ids, lengths)
    found = gpu_kernels.centred_log(received.to(device), lengths.to(device), 150, SMALLEST_SCORE)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("scoring_mode", ["mean", "relative", "saliency"])
def test_a_gpu_drops_the_tokens_that_the_processor_drops(scoring_mode):
    threshold = {"mean": 0.02, "relative": -0.2, "saliency": -0.2}[scoring_mode]
    pruning = PruningSettings(scoring_mode=scoring_mode, score_length=16)
    model = LTPForSequenceClassification.from_base(tiny.base_model("bert"), pruning).eval()
    if scoring_mode == "saliency":
        fit_saliency(model, [tiny.batch(tiny.sentences([13, 4, 9, 2, 7]))])
    model.set_thresholds([threshold] * model.layers)
    batch = tiny.batch(tiny.sentences([13, 4, 9, 2, 7] * 8))
    with torch.no_grad():
        expected = model(**batch)
        on_gpu = {name: value.cuda() for name, value in batch.items()}
        found = model.to("cuda", torch.bfloat16)(**on_gpu)
    difference = (found.ffn_tokens.cpu() - expected.ffn_tokens).abs().sum() / expected.ffn_tokens.sum()
    assert (expected.ffn_tokens[:, -1] < expected.attention_tokens[:, 0]).any()
    assert difference < 0.05  # 16 bits move a few tokens across a threshold
