"""From the scores of a passage's tokens to the answer: the best first and last token, or none."""

from __future__ import annotations

import numpy as np

MAX_ANSWER_TOKENS = 30  # longer spans are no candidates, as in the evaluation of BERT on SQuAD


def best_span(start_logits: np.ndarray, end_logits: np.ndarray, in_passage: np.ndarray) -> tuple[int, int] | None:
    """First and last token of the best answer; None where the first token of all, "no answer", scores more.

    ``start_logits`` and ``end_logits`` (N,) are the scores of a sentence's tokens, ``in_passage`` (N,) says which may
    be in an answer. A span's score is the sum of both; no answer's is that of the first token (Rajpurkar et al., 2018;
    the threshold of the difference is 0).
    """
    places = np.flatnonzero(in_passage)
    if not len(places):
        return None
    sums = start_logits[places][:, None] + end_logits[places][None, :]
    lengths = places[None, :] - places[:, None]
    sums = np.where((lengths >= 0) & (lengths < MAX_ANSWER_TOKENS), sums, -np.inf)
    first, last = np.unravel_index(int(sums.argmax()), sums.shape)
    if sums[first, last] <= start_logits[0] + end_logits[0]:
        return None
    return int(places[first]), int(places[last])
