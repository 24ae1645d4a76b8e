"""What an encoder costs, counted from the tokens that each layer processed.

Only the encoder's matrix products count, as in the original: embeddings, LayerNorm, softmax, the classifier and
the importance scores are left out.
"""

from __future__ import annotations

import numpy as np


def encoder_macs(attention_tokens, ffn_tokens, hidden_size: int, intermediate_size: int):
    """Multiply-accumulates of the encoder for each sentence (…,).

    ``attention_tokens`` and ``ffn_tokens`` (…, L) are the tokens of a sentence that enter each layer's attention,
    and those left for its feed-forward. Per layer, with n and n′ of them:
    2·H·n² (scores and context) + 4·H²·n (query, key, value and output projections) + 2·H·I·n′ (feed-forward).
    """
    n, left = np.asarray(attention_tokens, dtype=np.float64), np.asarray(ffn_tokens, dtype=np.float64)
    return (2 * hidden_size * n**2 + 4 * hidden_size**2 * n + 2 * hidden_size * intermediate_size * left).sum(-1)


def executed_macs(attention_tokens, ffn_tokens, hidden_size: int, intermediate_size: int, last_scores: bool):
    """Multiply-accumulates that this implementation really computes for each sentence (…,); arguments as above.

    Two things are cheaper than in the formula of :func:`encoder_macs`: a token that is dropped is dropped before the
    attention's output projection, and the last layer computes only what the classifier reads, the first token's row.
    ``last_scores``: the last layer scores its tokens, for which it needs the attention of all of them.
    """
    n, left = np.asarray(attention_tokens, dtype=np.float64), np.asarray(ffn_tokens, dtype=np.float64)
    hidden, wide = float(hidden_size), float(intermediate_size)
    layers = 2 * hidden * n**2 + 3 * hidden**2 * n + (hidden**2 + 2 * hidden * wide) * left
    last = n[..., -1]
    attention = 2 * hidden * last**2 + 3 * hidden**2 * last
    if not last_scores:
        attention = 2 * hidden * last + hidden**2 * (2 * last + 1)
    return layers[..., :-1].sum(-1) + attention + hidden**2 + 2 * hidden * wide


def shares(attention_tokens, ffn_tokens, lengths, hidden_size: int, intermediate_size: int):
    """(B,) the share of its unpruned FLOPs that each sentence costs; arguments as for :func:`relative_flops`."""
    dense_tokens = np.broadcast_to(np.asarray(lengths)[:, None], np.shape(attention_tokens))
    pruned = encoder_macs(attention_tokens, ffn_tokens, hidden_size, intermediate_size)
    return pruned / encoder_macs(dense_tokens, dense_tokens, hidden_size, intermediate_size)


def summarise(
    attention_tokens, ffn_tokens, lengths, hidden_size: int, intermediate_size: int, last_scores: bool = False
) -> dict[str, float]:
    """GFLOPs of a mean sentence, those without pruning, and their ratio (sum over sentences, not mean of ratios).

    ``executed_gflops`` are those of :func:`executed_macs`; the others follow the paper's formula, which charges every
    layer in full on both sides.

    ``attention_tokens`` and ``ffn_tokens`` are (B, L), ``lengths`` (B,) the tokens before the first layer.
    One multiply-accumulate counts as two floating-point operations.
    """
    dense_tokens = np.broadcast_to(np.asarray(lengths)[:, None], np.shape(attention_tokens))
    pruned = encoder_macs(attention_tokens, ffn_tokens, hidden_size, intermediate_size)
    executed = executed_macs(attention_tokens, ffn_tokens, hidden_size, intermediate_size, last_scores)
    dense = encoder_macs(dense_tokens, dense_tokens, hidden_size, intermediate_size)
    return {
        "gflops": 2e-9 * float(pruned.mean()),
        "dense_gflops": 2e-9 * float(dense.mean()),
        "executed_gflops": 2e-9 * float(executed.mean()),
        "relative": float(pruned.sum() / dense.sum()),
    }
