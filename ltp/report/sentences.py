"""Sentences and how long their words live in a model that prunes; shown in a terminal, or kept as JSON.

A word is what a tokenizer splits into pieces: it lives as long as the last of them. ``layers`` counts the layers that
a word goes through to the end; a word with ``layers`` = l is dropped at layer l + 1, and L is never dropped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ltp.results.examples import Sentence

# 256-colour backgrounds from what goes first (pale) to what stays (deep): their order shows in grey as well.
SHADES = (255, 253, 195, 153, 117, 75, 33, 26, 19)
DARK_FROM = 7  # index of the first shade on which white letters read better than black ones


def use_colour(stream: Any) -> bool:
    """Whether ``stream`` is a terminal that shows colours, and NO_COLOR (https://no-color.org) is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def render(sentence: Sentence, colour: bool) -> str:
    """A sentence for a terminal: the answer, in colour the words shaded, and what goes at which layer as a table."""
    layers, after = sentence.layers, sentence.left_after()
    counts = [f"{before} → {left}" for before, left in pairwise(after)] + [str(after[-1])]
    width = max(map(len, ["tokens", *counts]))
    table = [f"layer  {'tokens':>{width}}  words dropped"]
    for life, count in enumerate(counts):
        name = f" {life + 1:>4}" if life < layers else " kept"
        words = [_plain(word.text) for word in sentence.words if word.layers == life]
        name = _paint(name, life, layers) if colour else name
        table.append(f"{name}  {count:>{width}}  {' '.join(words)}".rstrip())
    parts = [_answer(sentence, after)]
    if colour:
        painted = [" " * word.space + _paint(_plain(word.text), word.layers, layers) for word in sentence.words]
        parts.append("".join(painted).strip())
    parts.append("\n".join(table))
    if sentence.unread:
        parts.append(f"not read: the last {sentence.unread} characters, beyond the longest sequence")
    return "\n\n".join(parts)


def _answer(sentence: Sentence, after: Sequence[int]) -> str:
    sure = "" if sentence.probability is None else f" ({100 * sentence.probability:.0f} %)"
    share = 100 * sum(after[1:]) / (after[0] * sentence.layers)
    return f"{_plain(sentence.answer)}{sure} · {after[0]} tokens, of which a feed-forward sees {share:.0f} % on average"


def _paint(text: str, life: int, layers: int) -> str:
    index = round(life * (len(SHADES) - 1) / layers)
    letters = 231 if index >= DARK_FROM else 16
    return f"\x1b[48;5;{SHADES[index]};38;5;{letters}m{text}\x1b[0m"


def _plain(text: str) -> str:
    """Text without what a terminal would obey: escapes, carriage returns, other unprintable signs."""
    return "".join(sign if sign.isprintable() else "�" for sign in text)
