"""The count of multiply-accumulates: by hand, and against what PyTorch counts while the model runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ltp.models.flops import Sizes, encoder_macs, executed_macs, shares, summarise
from ltp.models.loading import MODELS
from ltp.settings.pruning import PruningSettings

SIZE = {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512}


def test_the_formula():
    """Two layers, hidden 3, intermediate 5: 2·3·n² + 4·9·n + 2·3·5·n′."""
    assert encoder_macs([[4, 2]], [[2, 1]], Sizes(3, 5)).tolist() == [(96 + 144 + 60) + (24 + 72 + 30)]


def test_what_is_executed():
    """Two layers, hidden 3, intermediate 5: nothing but keys and values of the rows that go, the last for one row."""
    rest = (9 + 30) * 2 + (9 + 30)  # output projections and feed-forwards
    all_ask = 2 * 3 * 16 + 3 * 9 * 4, 2 * 3 * 4 + 3 * 9 * 2
    few_ask = 2 * 3 * 4 * 2 + 9 * (2 * 4 + 2), 2 * 3 * 2 * 1 + 9 * (2 * 2 + 1)
    for reads_all in (False, True):  # here one token is left anyway
        for by_attention in ([True, True], [True, False], [False, True], [False, False]):
            attention = sum((few_ask, all_ask)[wants][layer] for layer, wants in enumerate(by_attention))
            sizes = Sizes(3, 5, reads_all=reads_all)
            assert executed_macs([[4, 2]], [[2, 1]], sizes, by_attention).tolist() == [attention + rest]
    assert executed_macs([[4, 2]], [[2, 1]], Sizes(3, 5)).tolist() == [sum(few_ask) + rest]
    fused = sum(few_ask) + 9 * (4 - 2) + 9 * (2 - 1)  # one product makes the queries of all
    assert executed_macs([[4, 2]], [[2, 1]], Sizes(3, 5, fused_projection=True)).tolist() == [fused + rest]
    # A last layer that drops none is left with all of its tokens, of which a classifier reads one.
    dense = 2 * 3 * 4 * 4 + 3 * 9 * 4 + (9 + 30) * 4, 2 * 3 * 4 * 1 + 9 * (2 * 4 + 1) + (9 + 30)
    assert executed_macs([[4, 4]], [[4, 4]], Sizes(3, 5)).tolist() == [sum(dense)]
    assert executed_macs([[4, 4]], [[4, 4]], Sizes(3, 5, reads_all=True)).tolist() == [2 * dense[0]]


def test_bert_base_on_128_tokens():
    """22.4 GFLOPs is the usual figure for 128 tokens; ours leaves embeddings, pooler and softmax out."""
    dense = np.full((1, 12), 128)
    assert summarise(dense, dense, [128], Sizes(768, 3072))["gflops"] == pytest.approx(22.35, abs=0.01)


def test_summary_is_a_ratio_of_sums_not_a_mean_of_ratios():
    found = summarise([[10, 10], [2, 2]], [[10, 10], [2, 1]], [10, 4], Sizes(8, 32))
    pruned, dense = (
        encoder_macs([[10, 10], [2, 2]], [[10, 10], [2, 1]], Sizes(8, 32)),
        encoder_macs([[10], [4]], [[10], [4]], Sizes(8, 32)),
    )
    assert found["relative"] == pytest.approx(pruned.sum() / (2 * dense.sum()))
    assert found["gflops"] == pytest.approx(pruned.sum() * 1e-9)  # two sentences, two operations each
    assert found["dense_gflops"] == pytest.approx(2 * dense.sum() * 1e-9)
    assert summarise([[3]], [[3]], [3], Sizes(8, 32))["relative"] == 1.0


def test_each_sentence_has_its_own_share():
    attention, ffn, lengths = [[10, 10], [4, 2], [3, 3]], [[10, 10], [2, 1], [3, 3]], [10, 4, 3]
    found = shares(attention, ffn, lengths, Sizes(8, 32))
    assert found[0] == found[2] == 1.0
    assert found[1] == summarise([[4, 2]], [[2, 1]], [4], Sizes(8, 32))["relative"] < 1


@pytest.mark.parametrize(
    ("kind", "head"),
    [(kind, head) for head, (_, model) in MODELS.items() for kind in tiny.KINDS if kind in model.base_models],
)
@pytest.mark.parametrize("mode", ["none", *tiny.PRUNING])
def test_agrees_with_what_torch_counts(kind, mode, head):
    """Sentences one by one, so that no padded attention table is counted; scoring adds 1/(2D) of the attention.

    The formula of the relative FLOPs is the original's. It charges all of attention for every token that came in, and
    the last layer for all of its tokens. Here the output projection runs after the decision, queries too where no
    attention decides, and the last layer on the first token, where the head reads no others: what is reported is never
    less than what is computed.
    """
    pruning = tiny.PRUNING.get(mode, PruningSettings(prune_mode="none"))
    model = MODELS[head][1].from_base(tiny.base_model(kind, layers=6, seed=2, head=head, **SIZE), pruning)
    attention_tokens, ffn_tokens, counted = [], [], 0
    with torch.no_grad():
        model(torch.stack(tiny.sentences([5])))  # products of weights alone are computed once
    for ids in tiny.sentences([36, 30, 24], seed=3):
        counter = FlopCounterMode(display=False)
        # Torch counts no fused attention on the processor; the plain kernel is matrix products.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            found = model(ids[None])
        counted += counter.get_total_flops()
        attention_tokens.append(found.attention_tokens[0].tolist())
        ffn_tokens.append(found.ffn_tokens[0].tolist())
    if kind == "electra":  # embeddings are not part of the formula, nor is their projection to the layers' width
        counted -= 2 * (36 + 30 + 24) * model.config.embedding_size * SIZE["hidden_size"]
    facts = summarise(attention_tokens, ffn_tokens, [36, 30, 24], model.sizes, model.decides_by_attention())
    assert 3e9 * facts["executed_gflops"] == pytest.approx(counted, rel=0.02)
    assert 3e9 * facts["gflops"] > 0.98 * counted
    assert facts["relative"] == 1.0 if mode == "none" else facts["relative"] < 0.9
