"""What only DeBERTa has: distances between the places at first, in all the ways that its configuration allows."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny

from ltp.common.errors import LTPError
from ltp.models.configuration import LTPConfig
from ltp.models.flops import Sizes, encoder_macs, executed_macs
from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings

NONE = PruningSettings(prune_mode="none")
WAYS = {
    "v3": {},
    "projections of their own": {"share_att_key": False},
    "queries only": {"pos_att_type": ["c2p"]},
    "keys only, as text": {"pos_att_type": "p2c"},
    "a row for each distance": {"position_buckets": -1, "max_relative_positions": 6},
    "without distances": {"relative_attention": False, "position_biased_input": True, "norm_rel_ebd": "none"},
    "narrow embeddings, segments": {"embedding_size": 24, "type_vocab_size": 2, "position_biased_input": True},
}


# With absolute positions, the library counts padding on the left: test_modeling.py has what we do.
ON_THE_LEFT = [way for way, keys in WAYS.items() if not keys.get("position_biased_input")]


@pytest.mark.parametrize(("way", "left"), [*((way, False) for way in WAYS), *((way, True) for way in ON_THE_LEFT)])
def test_unpruned_is_hugging_face_s(way, left):
    """And alone what it is in a batch; where positions are distances only, also with padding on the left."""
    base, rows = tiny.base_model("deberta-v2", initializer_range=0.2, **WAYS[way]), tiny.sentences([30, 13, 4, 9, 1])
    model = LTPForSequenceClassification.from_base(base, NONE)
    with torch.no_grad():
        expected = torch.cat([base(row[None]).logits for row in rows])
        found = model(**tiny.batch(rows, extra=3, left=left)).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        if not left:
            torch.testing.assert_close(found, base(**tiny.batch(rows, extra=3)).logits, atol=1e-5, rtol=0)
    pruned = LTPForSequenceClassification.from_base(base, tiny.PRUNING["absolute_threshold"]).double()
    with torch.no_grad():
        found, alone = pruned(**tiny.batch(rows)), [pruned(row[None]) for row in rows]
    torch.testing.assert_close(found.logits, torch.cat([one.logits for one in alone]))
    assert torch.equal(found.ffn_tokens, torch.cat([one.ffn_tokens for one in alone]))


def test_projected_distances_are_kept_in_inference_and_made_anew_when_weights_change():
    base, batch = tiny.base_model("deberta-v2"), tiny.batch(tiny.sentences([13, 4]))
    model = LTPForSequenceClassification.from_base(base, NONE)
    with torch.inference_mode():
        first = model(**batch).logits
        assert len(model.prepacked._computed) == 2 * 4
    for weight in (model.deberta.encoder.rel_embeddings.weight, model.deberta.encoder.LayerNorm.weight):
        with torch.no_grad():
            weight.mul_(torch.linspace(0.5, 2.0, weight.shape[-1]))
        with torch.inference_mode():
            changed = model(**batch).logits
            torch.testing.assert_close(changed, base(**batch).logits, atol=1e-5, rtol=0)
        assert not torch.allclose(changed, first, atol=1e-3)
        first = changed


def test_a_convolution_is_refused():
    base = tiny.base_model("deberta-v2", conv_kernel_size=3)
    with pytest.raises(LTPError, match="conv_kernel_size: 3 is a convolution over neighbouring tokens") as caught:
        LTPForSequenceClassification(LTPConfig.from_base(base.config, NONE))
    assert "\n" not in str(caught.value)


def test_the_formula():
    """Layers of 4 and 2 tokens, hidden 3, intermediate 5, at most 6 rows of the 7 distances of four tokens."""
    sizes = Sizes(3, 5, distance_rows=6, query_distances=True, key_distances=True)
    plain = Sizes(3, 5)
    tokens = ([[4, 2]], [[2, 1]])
    assert encoder_macs(*tokens, sizes) - encoder_macs(*tokens, plain) == 2 * 3 * 6 * (4 + 2)
    extra = [
        executed_macs(*tokens, sizes, given) - executed_macs(*tokens, plain, given) for given in ([True] * 2, None)
    ]
    assert extra == [
        2 * 3 * 6 * (4 + 2),
        3 * 6 * ((4 + 2) + (2 + 1)),
    ]  # all keys; queries of all, or of those that stay
