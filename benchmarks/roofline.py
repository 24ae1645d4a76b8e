"""An upper bound for the speed-up by pruning on this machine: the time of the matrix products only.

    python benchmarks/roofline.py MODEL --data DIR [--batch 1 32] [--flops 0.5] [--bf16]

MODEL is a run that prunes, or a shape (bert-base, roberta-base). The six weight matrices of every layer are multiplied
with as many rows as the unpruned and the pruned encoder have, by the encoder's own kernels, without attention, scores
and copies. Few rows take more than their share of the time, since all weights are read from memory for any number of
rows.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from ltp.benchmark.runner import load_model
from ltp.benchmark.texts import batches, read_texts
from ltp.benchmark.timing import interleaved, speedup
from ltp.common.machine import cpu_threads
from ltp.models.calibration import calibrate
from ltp.models.flops import summarise
from ltp.models.modeling import LTPForSequenceClassification
from ltp.models.prepacked_linear import PrepackedWeights


def products(model: LTPForSequenceClassification, counts: list[tuple[list[int], list[int]]]) -> Callable[[], None]:
    """A pass over batches: per batch the rows of every layer's attention, and of its output and feed-forward.

    In the model's number format.
    """
    layers = model.encoder.encoder.layer
    most = max(max(attention) for attention, _ in counts)
    dtype = layers[0].attention.self.query.weight.dtype
    narrow = torch.randn(most, model.config.hidden_size, dtype=dtype)
    wide = torch.randn(most, model.config.intermediate_size, dtype=dtype)
    prepacked = PrepackedWeights()

    @torch.inference_mode()
    def run() -> None:
        linear = prepacked.linear_function(narrow)
        for attention, ffn in counts:
            for layer, before, after in zip(layers, attention, ffn, strict=True):
                own = layer.attention.self
                linear(narrow[:before], own.query, own.key, own.value)
                linear(narrow[:after], layer.attention.output.dense)
                linear(narrow[:after], layer.intermediate.dense)
                linear(wide[:after], layer.output.dense)

    return run


def main() -> None:
    """Count the rows on real sentences, time the products, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--flops", type=float)
    parser.add_argument("--bf16", action="store_true", help="in bfloat16, with the rows that fp32 has")
    options = parser.parse_args()
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    model = load_model(options.model).eval()
    text = next(read_texts(options.data, options.sentences, ()))
    if options.flops:
        _, whole = next(batches(text, "sorted", len(text.rows), model.config))
        calibrate(model, [whole], options.flops)
    timed = copy.deepcopy(model).to(torch.bfloat16) if options.bf16 else model
    for size in options.batch:
        dense, pruned, attended, fed, lengths = [], [], [], [], []
        for row_numbers, batch in batches(text, "sorted", size, model.config):
            with torch.inference_mode():
                output = model(**batch)
            own = [len(text.rows[number]["input_ids"]) for number in row_numbers]
            dense.append(([sum(own)] * model.layers,) * 2)
            pruned.append((output.attention_tokens.sum(0).tolist(), output.ffn_tokens.sum(0).tolist()))
            attended.append(output.attention_tokens)
            fed.append(output.ffn_tokens)
            lengths += own
        relative = summarise(torch.cat(attended).numpy(), torch.cat(fed).numpy(), lengths, model.sizes)["relative"]
        seconds = interleaved({"dense": products(timed, dense), "pruned": products(timed, pruned)}, options.repeats)
        gain = speedup(seconds["dense"], seconds["pruned"])
        milliseconds = {name: 1000 * median(times) / len(dense) for name, times in seconds.items()}
        print(
            f"{text.name}, batch {size}, {torch.get_num_threads()} threads: matrix products "
            f"{milliseconds['dense']:.2f} ms unpruned, {milliseconds['pruned']:.2f} ms pruned, {gain:.2f} ×; "
            f"FLOPs {1 / relative:.2f} × fewer; share {gain * relative:.2f}"
        )


if __name__ == "__main__":
    main()
