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
    hidden, wide = float(hidden_size), float(intermediate_size)
    return (2 * hidden * n**2 + 4 * hidden**2 * n + 2 * hidden * wide * left).sum(-1)


def summarise(attention_tokens, ffn_tokens, lengths, hidden_size: int, intermediate_size: int) -> dict[str, float]:
    """GFLOPs of a mean sentence, those without pruning, and their ratio (sum over sentences, not mean of ratios).

    ``attention_tokens`` and ``ffn_tokens`` are (B, L), ``lengths`` (B,) the tokens before the first layer.
    One multiply-accumulate counts as two floating-point operations.
    """
    dense_tokens = np.broadcast_to(np.asarray(lengths)[:, None], np.shape(attention_tokens))
    pruned = encoder_macs(attention_tokens, ffn_tokens, hidden_size, intermediate_size)
    dense = encoder_macs(dense_tokens, dense_tokens, hidden_size, intermediate_size)
    return {
        "gflops": 2e-9 * float(pruned.mean()),
        "dense_gflops": 2e-9 * float(dense.mean()),
        "relative": float(pruned.sum() / dense.sum()),
    }
