"""examples.json: example sentences with the layer at which each word is pruned, for the page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ltp.common.errors import LTPError
from ltp.common.io import shown, write_json

EXAMPLES = "examples.json"
SCHEMA = 1


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


def write_examples(path: str | os.PathLike[str], sentences: Sequence[Sentence], **facts: Any) -> None:
    """Keep sentences for the page, with ``facts`` (run, setting, reason, …) about where they are from."""
    write_json(path, {"schema": SCHEMA, **facts, "sentences": [asdict(sentence) for sentence in sentences]})


def read_examples(path: str | os.PathLike[str]) -> tuple[list[Sentence], dict[str, Any]]:
    """The sentences of :func:`write_examples`, and the facts. Raises LTPError for a file that is not one of its."""
    fix = "delete it and make it again with `ltp explain --examples`"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise LTPError(f"{shown(path)}: has schema {content['schema']!r}, expected {SCHEMA}; {fix}")
        sentences = [_sentence(item) for item in content.pop("sentences")]
    except OSError as error:
        raise LTPError(f"{shown(path)}: cannot be read ({error.strerror}); {fix}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise LTPError(f"{shown(path)}: is damaged (not the JSON of example sentences); {fix}") from None
    return sentences, content


def _sentence(item: Mapping[str, Any]) -> Sentence:
    words = [
        Word(**{**word, "layers": int(word["layers"]), "pieces": tuple((str(t), int(n)) for t, n in word["pieces"])})
        for word in item["words"]
    ]
    return Sentence(**{**item, "texts": tuple(item["texts"]), "words": tuple(words), "layers": int(item["layers"])})
