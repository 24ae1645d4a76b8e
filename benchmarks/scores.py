"""What importance scores, the decision and the copies cost where nothing is dropped: packed, with and without them.

    python benchmarks/scores.py MODEL --data DIR... [--batch 1 32]

MODEL is a run that prunes, or a shape (bert-base, roberta-base).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

import torch

from ltp.benchmark import load_model
from ltp.contenders import unpruned
from ltp.environment import cpu_threads
from ltp.model import LTPForSequenceClassification
from ltp.settings import PruningSettings
from ltp.speed_texts import batches, read_texts
from ltp.timing import interleaved, speedup


def main() -> None:
    """Time both on the same batches, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    base = load_model(options.model).to_base().eval()
    dense = unpruned(base)
    scored = LTPForSequenceClassification.from_base(base, PruningSettings(final_token_threshold=1e-9)).eval()
    for folder in options.data:
        text = next(read_texts(folder, options.sentences, ()))
        for size in options.batch:
            made = [batch for _, batch in batches(text, "sorted", size, base.config)]

            def passes(model: LTPForSequenceClassification, made: list = made) -> None:
                with torch.inference_mode():
                    for batch in made:
                        model(**batch)

            with torch.inference_mode():
                assert all((scored(**batch).ffn_tokens == scored(**batch).attention_tokens).all() for batch in made)
            seconds = interleaved({"dense": lambda: passes(dense), "scored": lambda: passes(scored)}, options.repeats)
            cost = speedup(seconds["scored"], seconds["dense"]) - 1
            times = {name: 1000 * median(values) / len(made) for name, values in seconds.items()}
            print(
                f"{text.name}, at most {text.max_length} tokens, batch {size}: {times['dense']:.2f} ms without, "
                f"{times['scored']:.2f} ms with scores: {100 * cost:+.1f} %"
            )


if __name__ == "__main__":
    main()
