"""Text and a tokenizer small enough for tests."""

from __future__ import annotations

from pathlib import Path

WORDS = ["the", "a", "film", "plot", "actor", "scene", "story", "is",
         "was", "with", "and", "but", "very", "quite", "so", "rather"]  # fmt: skip
MARKS = {0: ("dull", "weak", "poor"), 1: ("fine", "warm", "sharp")}


def write_sentences(path: Path, count: int, first: int) -> None:
    """Sentences of several lengths in which one word tells the label, none of them twice."""
    lines = ["sentence\tlabel"]
    for number in range(first, first + count):
        label = number % 2
        words = [WORDS[(number * 7 + step * (1 + number % 5)) % len(WORDS)] for step in range(3 + number % 9)]
        words.insert(number % len(words), MARKS[label][number % 3])
        lines.append(f"{' '.join(words)} n{number}\t{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def save_tokenizer(folder: Path) -> int:
    """A word-level tokenizer in BERT's manner; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *MARKS[0], *MARKS[1]]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return len(words)
