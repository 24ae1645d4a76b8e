"""How time and memory grow with tokens, sentence length and layers: a packed encoder that scores and drops nothing.

    python benchmarks/growth.py

The shape is all-MiniLM-L6-v2's with random weights. Each line is a process of its own: the median seconds of an
inference and of a training step (soft masks, forward and backward), and the memory that each adds to the loaded model.
"""

import multiprocessing
from statistics import median

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from ltp.benchmark.timing import interleaved
from ltp.common.machine import cpu_threads, peak_memory_mb
from ltp.models.flops import Sizes, encoder_macs
from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings

LAYERS, SENTENCES, LENGTH = 6, 8, 128
SERIES = {  # (layers, sentences, tokens of each)
    "tokens (sentences of 128)": [(LAYERS, sentences, LENGTH) for sentences in (8, 16, 32, 64)],
    "length (1,024 tokens)": [(LAYERS, 1024 // length, length) for length in (32, 64, 128, 256, 512)],
    "layers": [(layers, SENTENCES, LENGTH) for layers in (3, 6, 12, 24)],
}


def measure(layers: int, sentences: int, length: int, training: bool) -> tuple[float, float]:
    """Median seconds, and MB above those of the loaded model."""
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = BertConfig(hidden_size=384, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=1536)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0  # no random numbers in the times
    base = BertForSequenceClassification(config)
    model = LTPForSequenceClassification.from_base(base, PruningSettings(final_token_threshold=1e-9)).train(training)
    ids = torch.from_numpy(np.random.default_rng(0).integers(3, config.vocab_size, (sentences, length)))
    labels = torch.zeros(sentences, dtype=torch.long)
    if training:
        model.use_soft_masks(1e-3)
        for parameter in model.parameters():  # gradients belong to the loaded model
            parameter.grad = torch.zeros_like(parameter)

    def work() -> None:
        with torch.inference_mode(not training):
            loss = model(input_ids=ids, labels=labels).loss
        if training:
            loss.backward()

    before = peak_memory_mb()
    return median(interleaved({"work": work}, 7)["work"]), peak_memory_mb() - before


def main() -> None:
    """Measure and print, one line a size."""
    context = multiprocessing.get_context("spawn")
    for name, sizes in SERIES.items():
        print(f"\n{name}\nlayers, sentences, tokens each, GFLOPs, inference s, MB, training step s, MB", flush=True)
        for layers, sentences, length in sizes:
            tokens = np.full((sentences, layers), length)
            cost = 2e-9 * encoder_macs(tokens, tokens, Sizes(384, 1536)).sum()
            measured = []
            for training in (False, True):
                with context.Pool(1) as pool:  # a process each: memory counts from its start
                    measured += pool.apply(measure, (layers, sentences, length, training))
            print(
                f"{layers}, {sentences}, {length}, {cost:.1f}, "
                f"{measured[0]:.3f}, {measured[1]:.0f}, {measured[2]:.3f}, {measured[3]:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
