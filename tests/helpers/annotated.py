"""Text in CoNLL's form and in SQuAD 2.0's, small enough for tests, made of the words of helpers.tiny_text."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.tiny_text import MARKS, WORDS


def write_conll(path: Path, count: int, first: int = 0, iob: int = 2) -> None:
    """Sentences of several lengths whose marks are entities: dull ones BAD, others GOOD, now and then two words long.

    No sentence is there twice. ``iob``: 1 or 2, the form of the labels.
    """
    lines = ["-DOCSTART- -X- O", ""]
    for number in range(first, first + count):
        words = [(WORDS[(number * 7 + step * (1 + number % 5)) % len(WORDS)], "O") for step in range(3 + number % 9)]
        kind = number % 2
        name = ("BAD", "GOOD")[kind]
        begin = ("B-" if iob == 2 else "I-") + name
        entity = [(MARKS[kind][number % 3], begin)]
        if number % 4 > 1:
            entity.append((MARKS[kind][(number + 1) % 3], f"I-{name}"))
        place = number % len(words)
        lines += [f"{word} x {tag}" for word, tag in [*words[:place], *entity, *words[place:], (f"n{number}", "O")]]
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def write_squad(path: Path, count: int, first: int = 0) -> None:
    """Passages with a question each, in articles of three; the answer is a mark, and every third passage has none."""
    articles: dict[int, list[dict]] = {}
    for number in range(first, first + count):
        words = [WORDS[(number * 7 + step * (1 + number % 5)) % len(WORDS)] for step in range(5 + number % 6)]
        answer = MARKS[number % 2][number % 3]
        if number % 3:
            words.insert(1 + number % len(words), answer)
        context = f"{' '.join(words)} n{number}"
        answers = [{"text": answer, "answer_start": context.index(answer)}] if number % 3 else []
        asked = {
            "id": str(number), "question": f"the {WORDS[number % 5]} is {('dull', 'fine')[number % 2]}",
            "answers": answers, "is_impossible": not answers,
        }  # fmt: skip
        articles.setdefault(number // 3, []).append({"context": context, "qas": [asked]})
    data = [{"title": f"article {name}", "paragraphs": paragraphs} for name, paragraphs in articles.items()]
    path.write_text(json.dumps({"version": "v2.0", "data": data}), encoding="utf-8")
