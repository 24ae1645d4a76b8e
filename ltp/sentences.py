"""Sentences and how long their words live in a model that prunes; shown in a terminal, or kept as JSON. Torch-free.

A word is what a tokenizer splits into pieces: it lives as long as the last of them. ``layers`` counts the layers that
a word goes through to the end; a word with ``layers`` = l is dropped at layer l + 1, and L is never dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ltp.errors import LTPError
from ltp.records import shown, write_json

EXAMPLES = "examples.json"
SCHEMA = 1
# 256-colour backgrounds from what goes first (pale) to what stays (deep): their order shows in grey as well.
SHADES = (255, 253, 195, 153, 117, 75, 33, 26, 19)
DARK_FROM = 7  # index of the first shade on which white letters read better than black ones


@dataclass(frozen=True)
class Word:
    """A word of a sentence; ``pieces`` are its (text, layers), ``space`` tells whether one is written before it."""

    text: str
    layers: int
    pieces: tuple[tuple[str, int], ...]
    space: bool = True
    special: bool = False  # [CLS], [SEP], <s>: the tokenizer's own, not of the text


@dataclass(frozen=True)
class Sentence:
    """One example as the model read it.

    ``texts``: one text, or two. ``answer``: the predicted label, or for a regression the predicted number;
    ``probability`` is the model's for it. ``unread``: characters beyond the longest sequence, which no layer sees.
    """

    texts: tuple[str, ...]
    words: tuple[Word, ...]
    layers: int
    answer: str
    probability: float | None = None
    expected: str | None = None
    unread: int = 0

    def left_after(self) -> list[int]:
        """Tokens left after each layer, from 0 (all of them) to L."""
        lives = [layers for word in self.words for _, layers in word.pieces]
        return [sum(life >= layer for life in lives) for layer in range(self.layers + 1)]


def write_examples(path: str | os.PathLike, sentences: Sequence[Sentence], **facts: Any) -> None:
    """Keep sentences for the page, with ``facts`` (run, setting, reason, …) about where they are from."""
    write_json(path, {"schema": SCHEMA, **facts, "sentences": [asdict(sentence) for sentence in sentences]})


def read_examples(path: str | os.PathLike) -> tuple[list[Sentence], dict[str, Any]]:
    """The sentences of :func:`write_examples`, and the facts. Raises LTPError for a file that is not one of its."""
    mend = "delete it and make it again with `ltp explain --examples`"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise LTPError(f"{shown(path)}: has schema {content['schema']!r}, expected {SCHEMA}; {mend}")
        sentences = [_sentence(item) for item in content.pop("sentences")]
    except OSError as error:
        raise LTPError(f"{shown(path)}: cannot be read ({error.strerror}); {mend}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise LTPError(f"{shown(path)}: is damaged (not the JSON of example sentences); {mend}") from None
    return sentences, content


def _sentence(item: Mapping[str, Any]) -> Sentence:
    words = [
        Word(**{**word, "layers": int(word["layers"]), "pieces": tuple((str(t), int(n)) for t, n in word["pieces"])})
        for word in item["words"]
    ]
    return Sentence(**{**item, "texts": tuple(item["texts"]), "words": tuple(words), "layers": int(item["layers"])})


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
