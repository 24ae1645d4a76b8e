"""How much faster a training step is on packed tokens than on sentences padded to 128, as the original trains.

    python benchmarks/training.py MODEL DATA [--batch 32] [--repeats 5] [--precision auto]

MODEL is a fine-tuned BERT or RoBERTa classifier, a run, or bert-base or roberta-base for random weights; DATA is a
folder that `ltp data` wrote. Steps (forward, backward, AdamW) of all ways alternate on the same batches; the ratios are
medians over the repeats. Ours train the word embeddings that the data's training split has, as a stage does.
"""

from __future__ import annotations

import argparse
import copy
import resource
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import torch
from torch import nn

from ltp.benchmark.shapes import SHAPES, random_model
from ltp.benchmark.texts import batches, read_texts
from ltp.benchmark.timing import interleaved, speedup
from ltp.common.errors import LTPError
from ltp.common.machine import cpu_threads
from ltp.models.calibration import calibrate
from ltp.models.loading import load_pruned
from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings
from ltp.text.dataset import load
from ltp.training.precision import has_bf16
from ltp.training.vocabulary import only_seen_words, seen_ids

TEMPERATURE = 1e-4
HALF = 0.5  # of the FLOPs: the operating point of the hard step


def stepper(model: nn.Module, made: list, device: torch.device, half: bool) -> Callable[[], None]:
    """A pass of training steps over the batches, their matrix products in bf16 if ``half``."""
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)

    def run() -> None:
        for row_numbers, batch in made:
            labels = torch.tensor([number % model.config.num_labels for number in row_numbers], device=device)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                output = model(**{name: value.to(device) for name, value in batch.items()}, labels=labels)
            regulariser = getattr(output, "regulariser", None)
            loss = output.loss if regulariser is None else output.loss + 0.1 * regulariser
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return run


def main() -> None:
    """Time the steps and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--sentences", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="ways to train, to see the peak memory of one alone")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="as in a grid")
    parser.add_argument("--freeze-embeddings", action="store_true", help="as in a grid: soft and hard steps only")
    options = parser.parse_args()
    half = options.precision == "bf16" or (options.precision == "auto" and has_bf16())
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = (random_model(options.model) if options.model in SHAPES else load_pruned(options.model)).to_base()
    for module in base.modules():  # dropout costs all ways alike, and is off in the default study
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    text = next(read_texts(options.data, options.sentences, ()))
    stack = ExitStack()
    seen = seen_ids(load(options.data)[0]["train"]).union(*(row["input_ids"] for row in text.rows))
    made = {kind: list(batches(text, kind, options.batch, base.config)) for kind in ("padded", "dynamic", "sorted")}
    _, whole = next(batches(text, "sorted", len(text.rows), base.config))

    def packed(settings: PruningSettings) -> LTPForSequenceClassification:
        return LTPForSequenceClassification.from_base(copy.deepcopy(base), settings)

    def as_in_a_stage(model: LTPForSequenceClassification, frozen: bool = False) -> LTPForSequenceClassification:
        model.layout.word_embeddings(model.encoder).weight.requires_grad_(not frozen)
        stack.enter_context(only_seen_words(model.to(device), seen, weight_decay=0.0))
        return model

    def pruning(soft: bool) -> LTPForSequenceClassification:
        model = packed(PruningSettings())
        calibrate(model.eval(), [whole], HALF)
        if soft:
            model.use_soft_masks(TEMPERATURE)
        else:
            model.threshold_deltas.requires_grad_(False)
        return as_in_a_stage(model, options.freeze_embeddings)

    ways = {
        "padded": lambda: (copy.deepcopy(base).to(device), made["padded"]),
        "grouped": lambda: (copy.deepcopy(base).to(device), made["sorted"]),
        "dense": lambda: (as_in_a_stage(packed(PruningSettings(prune_mode="none"))), made["sorted"]),
        "soft": lambda: (pruning(soft=True), made["dynamic"]),
        "hard": lambda: (pruning(soft=False), made["dynamic"]),
    }
    chosen = {name: way for name, way in ways.items() if not options.only or name in options.only}
    seconds = interleaved(
        {name: stepper(*way(), device, half) for name, way in chosen.items()}, options.repeats, device.type == "cuda"
    )
    mean = sum(len(row["input_ids"]) for row in text.rows) / len(text.rows)
    print(
        f"{text.name}: {len(text.rows)} sentences of {mean:.0f} tokens, batch {options.batch}, {device.type}, "
        f"{'bf16' if half else 'fp32'}"
    )
    for name, times in seconds.items():
        rate, fastest, slowest = len(text.rows) / median(times), min(times), max(times)
        print(f"{name:8} {rate:8.1f} sentences/s ({fastest:.2f} to {slowest:.2f} s a pass)")
    for fast, slow in (("soft", "padded"), ("hard", "padded"), ("dense", "padded"), ("dense", "grouped")):
        if fast in seconds and slow in seconds:
            print(f"{fast} step: {speedup(seconds[slow], seconds[fast]):.2f} × the {slow} Hugging Face step")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    try:
        main()
    except LTPError as error:
        sys.exit(f"training.py: {error}")
