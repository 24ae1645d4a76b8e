"""The path for GPUs with a kernel for packed sentences, its kernel replaced by a plain one: there is no GPU here."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from helpers import tiny
from torch.nn import functional

from ltp.models import attention
from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings


def plain_kernel(query, key, value, query_bounds, key_bounds, longest_query, longest_key):
    """varlen_attn by its documentation: (T, A, D) in, sentence after sentence, int32 bounds (B + 1,)."""
    assert query_bounds.dtype == torch.int32 and torch.equal(query_bounds, key_bounds)
    bounds = query_bounds.tolist()
    assert bounds[0] == 0 and bounds[-1] == len(query)
    assert longest_query == longest_key == max(end - start for start, end in pairwise(bounds))
    contexts = []
    for start, end in pairwise(bounds):
        one = (part[start:end].transpose(0, 1) for part in (query, key, value))
        contexts.append(functional.scaled_dot_product_attention(*one).transpose(0, 1))
    return torch.cat(contexts)


@pytest.mark.parametrize("mode", ["absolute_threshold", "none"])
def test_the_kernel_s_path_gives_the_same_answers(monkeypatch, mode):
    pruning = tiny.PRUNING.get(mode, PruningSettings(prune_mode="none"))
    model = LTPForSequenceClassification.from_base(tiny.base_model("bert"), pruning).double()
    batch = tiny.batch(tiny.sentences([13, 4, 9, 2, 7]))
    calls = []

    def kernel(*arguments):
        calls.append(1)
        return plain_kernel(*arguments)

    with torch.no_grad():
        expected = model(**batch)
        monkeypatch.setattr(attention, "varlen_attn", kernel)
        monkeypatch.setattr(attention, "_has_kernel", lambda query: True)
        found = model(**batch)
    torch.testing.assert_close(found.logits, expected.logits)
    assert torch.equal(found.ffn_tokens, expected.ffn_tokens)
    # A layer that prunes needs the probabilities, which the kernel keeps to itself; the last one asks for one row.
    assert len(calls) == (3 if mode == "none" else 0)


def test_the_processor_does_not_use_it():
    assert not attention._has_kernel(torch.zeros(1, 4, dtype=torch.bfloat16))
