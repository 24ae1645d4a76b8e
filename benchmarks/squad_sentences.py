"""SQuAD's answerable questions, each with the one sentence that holds its answer -> a file in SQuAD's form.

    python benchmarks/squad_sentences.py dev-v2.0.json --output text/squad_sentences/train.json

An easier task than SQuAD's own, which a small study can learn: `config/tokens.yaml`.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“(])")


def sentence_of(passage: str, start: int, stop: int) -> tuple[int, int]:
    """Where the sentence begins and ends that holds the characters from ``start`` to ``stop``."""
    borders = [0, *(match.end() for match in ENDS.finditer(passage)), len(passage)]
    return max(at for at in borders if at <= start), min(at for at in borders if at >= stop)


def shortened(article: dict[str, Any]) -> dict[str, Any]:
    """An article whose paragraphs have one sentence and one question each."""
    paragraphs = []
    for paragraph in article["paragraphs"]:
        for question in paragraph["qas"]:
            if question.get("is_impossible") or not question["answers"]:
                continue
            first = question["answers"][0]
            begin, end = sentence_of(
                paragraph["context"], first["answer_start"], first["answer_start"] + len(first["text"])
            )
            inside = [
                answer | {"answer_start": answer["answer_start"] - begin}
                for answer in question["answers"]
                if begin <= answer["answer_start"] and answer["answer_start"] + len(answer["text"]) <= end
            ]
            context = paragraph["context"][begin:end].rstrip()
            paragraphs.append({"context": context, "qas": [question | {"answers": inside}]})
    return {"title": article["title"], "paragraphs": paragraphs}


def main() -> None:
    """Read, shorten, write, and say how many questions there are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("squad", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    squad = json.loads(options.squad.read_text(encoding="utf-8"))
    articles = [shortened(article) for article in squad["data"]]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"version": squad["version"], "data": articles}), encoding="utf-8")
    print(f"{options.output}: {sum(len(article['paragraphs']) for article in articles):,} questions")


if __name__ == "__main__":
    main()
