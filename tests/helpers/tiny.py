"""Small random encoders for the tests of the method, with attention uneven enough for thresholds to bite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ltp.models.layouts.registry import LAYOUTS
from ltp.models.loading import MODELS
from ltp.models.modeling import LTPPreTrainedModel
from ltp.results.encoders import ENCODERS
from ltp.settings.pruning import PruningSettings

KINDS = ("bert", "roberta", "distilbert", "electra", "modernbert", "deberta-v2")  # every layout with code of its own
ALIKE = ("camembert", "xlm-roberta")  # and those that share another's: for the tests where names could differ
# What the configuration of a tiny model says beside its sizes.
OWN_KEYS: dict[str, dict] = {
    "bert": {"type_vocab_size": 2},
    "distilbert": {"initializer_range": 0.3},  # its head does not limit how large its values are
    # Layers 1 and 4 see everything, 2 and 3 only four tokens on each side.
    "modernbert": {"local_attention": 8, "pad_token_id": 1, "initializer_cutoff_factor": 3.0},
    # As in v3, but distances from 4 on share rows.
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "electra": {"embedding_size": 24},
    **{kind: {"type_vocab_size": 1, "pad_token_id": 1} for kind in ("roberta", *ALIKE)},
}
SOFT_KINDS = tuple(kind for kind in KINDS if ENCODERS[kind].soft_masks)
VOCABULARY = 60
SCORE_LENGTH = 16  # scores are about 1/16, so thresholds up to that remove about half of the tokens
# One way to prune with each rule; each removes tokens from the sentences of `batch`.
PRUNING = {
    "absolute_threshold": PruningSettings(final_token_threshold=0.07, score_length=SCORE_LENGTH),
    "rising_threshold": PruningSettings(prune_mode="rising_threshold", final_token_threshold=0.6),
    "threshold": PruningSettings(prune_mode="threshold", final_token_threshold=0.4),
    "topk": PruningSettings(prune_mode="topk", token_keep_rate=0.3),
}

# Thresholds of four layers on the scores that are relative to the sentence.
RELATIVE_THRESHOLDS = (-0.6, -0.3, -0.2, 0.1)


def base_model(
    kind: str, layers: int = 4, labels: int = 3, seed: int = 0, head: str = "SequenceClassification", **config
) -> PreTrainedModel:
    """A random model in evaluation mode, without dropout; by its head a classifier of sentences."""
    torch.manual_seed(seed)
    model_class = MODELS[head][1].base_class(kind)
    keys = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "num_labels": 2 if head == "QuestionAnswering" else labels,
        "initializer_range": 0.4,
        **dict.fromkeys(ENCODERS[kind].dropout, 0.0),
        **OWN_KEYS[kind],
    }
    renamed = {ENCODERS[kind].key(name): value for name, value in {**keys, **config}.items()}
    return model_class(LAYOUTS[kind].config_class(**renamed)).eval()


def pruning_model(
    kind: str, mode: str = "absolute_threshold", head: str = "SequenceClassification", **config
) -> LTPPreTrainedModel:
    """The same, pruned by PRUNING[mode], in double precision: no decision then hangs on rounding."""
    return MODELS[head][1].from_base(base_model(kind, head=head, **config), PRUNING[mode]).double()


def scored_model(
    kind: str, scoring_mode: str, mode: str = "absolute_threshold", head: str = "SequenceClassification"
) -> LTPPreTrainedModel:
    """The same with another score; in mode ``absolute_threshold`` pruned by RELATIVE_THRESHOLDS."""
    pruning = replace(PRUNING[mode], scoring_mode=scoring_mode)
    model = MODELS[head][1].from_base(base_model(kind, head=head), pruning).double()
    if mode == "absolute_threshold":
        model.threshold_deltas.data = torch.tensor(RELATIVE_THRESHOLDS, dtype=torch.double)
    if scoring_mode == "saliency":  # spread as the other scores are
        spread = 0.05 if kind == "modernbert" else 0.2  # its states are larger
        model.saliency_probes.normal_(0.0, spread, generator=torch.Generator().manual_seed(0))
    return model


def sentences(lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Random token ids, a tensor for each length; none of them is padding."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator) for length in lengths]


def batch(rows: Sequence[Tensor], extra: int = 0, left: bool = False, pad: int = 1) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask`` (B, N), padded ``extra`` further than needed."""
    width = max(len(row) for row in rows) + extra
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), None) if left else slice(0, len(row))
        ids[index, place], mask[index, place] = row, 1
    return {"input_ids": ids, "attention_mask": mask}
