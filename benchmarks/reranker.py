"""A small reranker of BBC news, fine-tuned here, pruned with and without protection of its queries -> CSV.

    python benchmarks/reranker.py --output docs/data/reranker.csv [--minutes 3 4]

The query is an article's last words, the candidates are the beginnings of articles of the same topic, its own among
them. Queries that the reranker is fine-tuned on are not those that it is pruned with. Needs the extra
``demo``. MINUTES are those of the fine-tuning and of each of the two calls of ``ltp.prune``.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import ltp
from ltp.common.machine import commit, cpu_threads, processor_name
from ltp.text.packaged import packaged_model_path, read_packaged
from ltp.text.tokenizer import load_tokenizer
from ltp.training.precision import has_bf16

QUERY_WORDS, CANDIDATES, NEGATIVES, QUERIES = 16, 12, 3, 8
LENGTH, TRAINING_LENGTH = 96, 64  # word pieces at which pairs are cut
BUDGETS = (0.7, 0.5)


def lists(frame: pd.DataFrame, candidates: int, seed: int) -> list[tuple[str, list[str]]]:
    """Each article's last words with the articles of its topic up to theirs, its own first."""
    rng = random.Random(seed)
    words = [text.split() for text in frame["text"]]
    queries = [" ".join(each[-QUERY_WORDS:]) for each in words]
    rests = [" ".join(each[:-QUERY_WORDS]) for each in words]
    by_topic = frame.groupby("label").indices
    found = []
    for row, topic in enumerate(frame["label"]):
        others = rng.sample([int(other) for other in by_topic[topic] if other != row], candidates - 1)
        found.append((queries[row], [rests[row], *(rests[other] for other in others)]))
    rng.shuffle(found)
    return found


def fine_tune(queries: list[tuple[str, list[str]]], tokenizer: Any, minutes: float) -> PreTrainedModel:
    """The packaged encoder as a cross-encoder: the query's article must score highest of its candidates."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(packaged_model_path(), num_labels=1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    rng, started, step = random.Random(0), time.monotonic(), 0
    while time.monotonic() - started < 60 * minutes:
        pairs = [(query, passage) for query, passages in rng.sample(queries, QUERIES) for passage in passages]
        batch = tokenizer(pairs, truncation=True, max_length=TRAINING_LENGTH, padding=True, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            scores = model(**batch).logits.float().view(QUERIES, -1)
        loss = functional.cross_entropy(scores, torch.zeros(QUERIES, dtype=torch.long))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return model.eval()


def rows(protect: str, report: dict[str, Any]) -> list[dict[str, str]]:
    """One row a budget."""
    found = []
    for point in report["points"]:
        row = {
            "query": "protected" if protect == "first" else "not protected",
            "FLOPs": f"{100 * point['flops']:.0f} %",
        }
        for each in point["agreement"]:
            factor, digits = (100, 0) if each["share"] else (1, 2)
            ends = " to ".join(f"{factor * each[end]:.{digits}f}" for end in ("low", "high"))
            row[each["name"]] = f"{factor * each['estimate']:.{digits}f} ({ends})"
        for score in point["scores"]:
            pruned, original = (100 * score[which]["estimate"] for which in ("pruned", "original"))
            row[f"{score['metric']} × 100 (original)"] = f"{pruned:.1f} ({original:.1f})"
        for speed, name in zip(point["speed"], ("one pair", "a batch"), strict=True):
            row[f"× as fast, {name}"] = f"{speed['speedup']:.2f}"
        origin = {"commit": commit() or "", "machine": processor_name(), "date": datetime.now(UTC).date().isoformat()}
        found.append(row | origin)
    return found


def main() -> None:
    """Fine-tune, prune twice, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs=2, default=[3.0, 4.0])
    parser.add_argument("--model", type=Path, help="folder to keep the reranker in, or to take it from")
    options = parser.parse_args()
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    frame = read_packaged("bbc_news").tables["train"].frame.drop_duplicates("text")
    frame = frame.sample(frac=1.0, random_state=0).reset_index(drop=True)
    half = len(frame) // 2
    tokenizer = load_tokenizer(packaged_model_path())
    if options.model and options.model.is_dir():
        model = AutoModelForSequenceClassification.from_pretrained(options.model)
    else:
        model = fine_tune(lists(frame[:half], 1 + NEGATIVES, 0), tokenizer, options.minutes[0])
        if options.model:
            model.save_pretrained(options.model)
            tokenizer.save_pretrained(options.model)
    candidates = lists(frame[half:].reset_index(drop=True), CANDIDATES, 1)
    pairs = [(query, passage) for query, passages in candidates for passage in passages]
    relevance = [float(place == 0) for _, passages in candidates for place in range(len(passages))]
    found: list[dict[str, str]] = []
    for protect in ("first", "none"):
        result = ltp.prune(
            model, tokenizer, pairs, BUDGETS, labels=relevance, minutes=options.minutes[1], protect=protect,
            max_length=LENGTH,
        )  # fmt: skip
        print(result, flush=True)
        found += rows(protect, result.report)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with options.output.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(found[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    main()
