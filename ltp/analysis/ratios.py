"""Metrics that are a ratio of two sums over the examples: those of answers and of entities.

Answers are scored as SQuAD 2.0's evaluation does (Rajpurkar et al., 2018, https://aclanthology.org/P18-2124): in lower
case, without punctuation, articles and surplus blanks, each against the best of the right answers; a question without
answers has the empty one, which only the empty answer meets. Entities count where type, first and last word are right
(Tjong Kim Sang and De Meulder, 2003, https://aclanthology.org/W03-0419), as `seqeval` finds them.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(answer: str) -> str:
    """An answer in lower case, without punctuation, articles and surplus blanks."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answers: Sequence[str], found: str) -> tuple[float, float]:
    """Whether an answer is one of the right ones, and 1."""
    return float(normalise(found) in map(normalise, _right(answers))), 1.0


def answer_f1(answers: Sequence[str], found: str) -> tuple[float, float]:
    """F1 of an answer's words against the best of the right answers, and 1."""
    return max(_words_f1(normalise(right).split(), normalise(found).split()) for right in _right(answers)), 1.0


def _right(answers: Sequence[str]) -> Sequence[str]:
    """The right answers but those of punctuation and articles alone; the empty one where there are none."""
    return [answer for answer in answers if normalise(answer)] or [""]


def _words_f1(right: Sequence[str], found: Sequence[str]) -> float:
    if not right or not found:
        return float(right == found)
    shared = sum((Counter(right) & Counter(found)).values())
    return 2 * shared / (len(right) + len(found))


def entity_f1(tags: Sequence[str], found: Sequence[str]) -> tuple[float, float]:
    """Twice the entities of a sentence that are right, and those that there are plus those that were found.

    ``tags`` and ``found`` are its words' labels in IOB2, or another form that `seqeval` reads.
    """
    from seqeval.metrics.sequence_labeling import get_entities

    right, ours = set(get_entities(list(tags))), set(get_entities(list(found)))
    return 2.0 * len(right & ours), float(len(right) + len(ours))


def token_accuracy(tags: Sequence[str], found: Sequence[str]) -> tuple[float, float]:
    """The words of a sentence whose label is right, and all of them."""
    return float(sum(right == ours for right, ours in zip(tags, found, strict=True))), float(len(tags))


# Name of a metric → an example's share of both sums, from what is right and what was found. The score is the first sum
# over the second, 0 where that is 0.
RATIOS: dict[str, Callable[[Any, Any], tuple[float, float]]] = {
    "entity_f1": entity_f1,
    "token_accuracy": token_accuracy,
    "answer_f1": answer_f1,
    "exact_match": exact_match,
}
