"""What an encoder costs, counted from the tokens that each layer processed.

Only the encoder's matrix products count, as in the original: embeddings, LayerNorm, softmax, the classifier and
the importance scores are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sizes:
    """What the cost of an encoder's layers depends on, beside the tokens.

    ``ffn_products``: products of hidden · intermediate that the feed-forward takes a token through: 2, or 3 with a
    gate. In disentangled attention each token's query (``query_distances``) and key (``key_distances``) is multiplied
    in each layer with a row for each distance in its sentence, of at most ``distance_rows``. ``reads_all``: the head
    reads all tokens that are left, not only the first. ``fused_projection``: queries, keys and values come from one
    product, of all tokens in the last layer too.
    """

    hidden: int
    intermediate: int
    ffn_products: int = 2
    distance_rows: int = 0
    query_distances: bool = False
    key_distances: bool = False
    reads_all: bool = False
    fused_projection: bool = False

    @property
    def ffn(self) -> float:
        """Multiply-accumulates of the feed-forward for one token."""
        return float(self.ffn_products * self.hidden * self.intermediate)

    def distances(self, n, queries=None):
        """Multiply-accumulates with distances in layers of n tokens (…, L), or of fewer ``queries``.

        All of a sentence's tokens enter the first layer, and 2·n − 1 distances are between them.
        """
        if not self.distance_rows:
            return 0.0
        rows = (2 * n[..., :1] - 1).clip(max=self.distance_rows)
        queries = n if queries is None else queries
        return self.hidden * rows * (self.query_distances * queries + self.key_distances * n)


def encoder_macs(attention_tokens, ffn_tokens, sizes: Sizes):
    """Multiply-accumulates of the encoder for each sentence (…,).

    ``attention_tokens`` and ``ffn_tokens`` (…, L) are the tokens of a sentence that enter each layer's attention,
    and those left for its feed-forward. Per layer, with n and n′ of them:
    2·H·n² (scores and context) + 4·H²·n (query, key, value and output projections) + 2·H·I·n′ (feed-forward; with a
    gate 3·H·I·n′); in disentangled attention with R distances + R·H·n for the queries and as much for the keys (the
    projections of the distances are products of weights, computed once). Layers with a local window are charged all n²
    pairs: they are computed and then masked, as in Hugging Face's attention but for flash-attention's kernel.
    """
    n, left = np.asarray(attention_tokens, dtype=np.float64), np.asarray(ffn_tokens, dtype=np.float64)
    hidden = float(sizes.hidden)
    return (2 * hidden * n**2 + 4 * hidden**2 * n + sizes.distances(n) + sizes.ffn * left).sum(-1)


def executed_macs(attention_tokens, ffn_tokens, sizes: Sizes, by_attention: Sequence[bool] | None = None):
    """Multiply-accumulates that this implementation really computes for each sentence (…,); arguments as above.

    Three things are cheaper than in the formula of :func:`encoder_macs`. A token that is dropped is dropped before the
    attention's output projection. Where the decision does not wait for the attention, a token that will be dropped is
    not asked for its query, and gives its key and value only. And the last layer computes only what the classifier
    reads, which is the first token's row unless the head ``reads_all``. ``by_attention`` (L,): in which layers the
    decision needs the attention of all tokens; None: in none.
    """
    n, left = np.asarray(attention_tokens, dtype=np.float64), np.asarray(ffn_tokens, dtype=np.float64)
    after = np.zeros(n.shape[-1], dtype=bool) if by_attention is None else np.asarray(by_attention)
    hidden = float(sizes.hidden)
    queries = np.where(after, n, left)
    if not sizes.reads_all:
        left = left.copy()
        left[..., -1] = 1
        queries[..., -1] = np.where(after[-1], queries[..., -1], 1)
    projected = n if sizes.fused_projection else queries
    attention = 2 * hidden * n * queries + hidden**2 * (2 * n + projected) + sizes.distances(n, queries)
    return (attention + (hidden**2 + sizes.ffn) * left).sum(-1)


def shares(attention_tokens, ffn_tokens, lengths, sizes: Sizes):
    """(B,) the share of its unpruned FLOPs that each sentence costs; arguments as for :func:`summarise`."""
    dense_tokens = np.broadcast_to(np.asarray(lengths)[:, None], np.shape(attention_tokens))
    return encoder_macs(attention_tokens, ffn_tokens, sizes) / encoder_macs(dense_tokens, dense_tokens, sizes)


def summarise(
    attention_tokens, ffn_tokens, lengths, sizes: Sizes, by_attention: Sequence[bool] | None = None
) -> dict[str, float]:
    """GFLOPs of a mean sentence, those without pruning, and their ratio (sum over sentences, not mean of ratios).

    ``executed_gflops`` are those of :func:`executed_macs`; the others follow the paper's formula, which charges every
    layer in full on both sides.

    ``attention_tokens`` and ``ffn_tokens`` are (B, L), ``lengths`` (B,) the tokens before the first layer.
    One multiply-accumulate counts as two floating-point operations.
    """
    dense_tokens = np.broadcast_to(np.asarray(lengths)[:, None], np.shape(attention_tokens))
    pruned = encoder_macs(attention_tokens, ffn_tokens, sizes)
    executed = executed_macs(attention_tokens, ffn_tokens, sizes, by_attention)
    dense = encoder_macs(dense_tokens, dense_tokens, sizes)
    return {
        "gflops": 2e-9 * float(pruned.mean()),
        "dense_gflops": 2e-9 * float(dense.mean()),
        "executed_gflops": 2e-9 * float(executed.mean()),
        "relative": float(pruned.sum() / dense.sum()),
    }
