"""A small fine-tuned classifier, a small reranker, and text for them."""

from __future__ import annotations

from pathlib import Path

from helpers.tiny_text import MARKS, WORDS, save_tokenizer


def save_classifier(folder: Path, labels: int = 2, architecture: str = "BertForSequenceClassification") -> Path:
    """A random two-layer BERT with a classifier for ``good`` and ``bad``, or of one number, and its tokenizer."""
    import torch
    import transformers

    names = {0: "bad", 1: "good"} if labels == 2 else {index: f"LABEL_{index}" for index in range(labels)}
    config = transformers.BertConfig(
        vocab_size=save_tokenizer(folder), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, initializer_range=0.4, id2label=names,
        label2id={name: index for index, name in names.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    return folder


def some_texts(count: int) -> list[str]:
    """Different texts of 8 to 15 words."""
    texts = []
    for number in range(count):
        words = [
            WORDS[(number * 7 + step * (1 + number % 11) + number // 16) % len(WORDS)] for step in range(7 + number % 8)
        ]
        words.insert(number % len(words), MARKS[number % 2][number % 3])
        texts.append(" ".join(words) + f" n{number}")
    return texts


def some_pairs(queries: int, candidates: int) -> list[tuple[str, str]]:
    """Each of the queries with as many different texts."""
    texts = some_texts(queries * candidates)
    firsts = [f"{WORDS[number % 16]} {WORDS[number // 16]} q{number}" for number in range(queries)]
    return [
        (first, texts[place * candidates + index]) for place, first in enumerate(firsts) for index in range(candidates)
    ]
