"""The time of importance scores, and of the decisions after them, in a packed encoder that drops nothing.

Two decisions: the paper's, and that of the score ``saliency``, which needs no attention.

    python benchmarks/scores.py MODEL --data DIR... [--batch 1 32]

MODEL is a run that prunes, or a shape (bert-base, roberta-base).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median

import torch

from ltp.benchmark.backends import unpruned
from ltp.benchmark.runner import load_model
from ltp.benchmark.texts import batches, read_texts
from ltp.benchmark.timing import interleaved
from ltp.common.machine import cpu_threads
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.pruning import Rule
from ltp.settings.pruning import KEEP_ALL, PruningSettings


class ScoresOnly(Rule):
    """Has every layer score its tokens, and keeps all of them without looking at the scores."""

    def keep_indices(self, layer, received, tokens, original_lengths):
        return torch.arange(len(tokens.hidden))


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
    # Every layer scores and decides, none drops a token.
    papers = PruningSettings(final_token_threshold=1e-9)
    deciding, scoring = (LTPForSequenceClassification.from_base(base, papers).eval() for _ in range(2))
    scoring.rule = lambda: ScoresOnly("absolute_threshold", [1.0] * scoring.layers)
    saliency = LTPForSequenceClassification.from_base(base, PruningSettings(scoring_mode="saliency")).eval()
    saliency.set_thresholds([KEEP_ALL + 1] * saliency.layers)
    models = {"neither": dense, "scores": scoring, "the paper's decision": deciding, "saliency": saliency}
    for folder in options.data:
        text = next(read_texts(folder, options.sentences, ()))
        for size in options.batch:
            made = [batch for _, batch in batches(text, "sorted", size, base.config)]

            def passes(model: LTPForSequenceClassification, made: list = made) -> None:
                with torch.inference_mode():
                    for batch in made:
                        model(**batch)

            with torch.inference_mode():
                for model in (deciding, saliency):
                    found = [model(**batch) for batch in made]
                    assert all((output.ffn_tokens == output.attention_tokens).all() for output in found)
            backends = {name: partial(passes, model) for name, model in models.items()}
            seconds = interleaved(backends, options.repeats)
            times = {name: 1000 * median(values) / len(made) for name, values in seconds.items()}
            cost = {name: 100 * (value / times["neither"] - 1) for name, value in times.items()}
            print(
                f"{text.name}, at most {text.max_length} tokens, batch {size}: {times['neither']:.2f} ms; "
                + "; ".join(f"{name} {cost[name]:+.1f} %" for name in models if name != "neither"),
                flush=True,
            )


if __name__ == "__main__":
    main()
