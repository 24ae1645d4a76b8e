"""What a training asks of a cluster: memory and time, from the model's shape and the tokens to train.

The constants were measured (docs/cluster.md has the figures). Both results are limits, above what a job takes, and grow
with each attempt, so that a job that was killed at its limit gets more the next time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ltp.grid.grid import Grid, Run
from ltp.grid.plan import run_tokens
from ltp.grid.sizes import task_size
from ltp.results.checkpoint import read_config
from ltp.results.encoders import ENCODERS, config_value
from ltp.settings.data import DataSettings

LIBRARIES_MB = 600  # PyTorch, transformers, datasets
SNAKEMAKE_MB = 400  # a submitted job is started through two more Snakemakes
BYTES_PER_PARAMETER = 16  # weights, gradients and AdamW's two moments in float32
BYTES_PER_ACTIVATION = 120  # per token, layer and hidden unit, kept for the backward pass
CPU_FLOPS = 3e10  # per second, of one core in a training: half of what was measured
GPU_FLOPS = 1e13  # assumed, not measured: a tenth of what a data-centre GPU gives in bf16
START_MINUTES = 10  # to start, to write
THRESHOLD_TEXTS = 4000  # on which thresholds are set: some 320, a dozen times
UNKNOWN_MINUTES = 24 * 60  # limit of a training whose data are not prepared and of unknown size


@dataclass(frozen=True)
class Shape:
    """An encoder's size."""

    layers: int
    hidden: int
    vocabulary: int
    intermediate: int
    gated: bool = False

    @property
    def matrix_weights(self) -> int:
        """Weights that every token is multiplied by: attention's four matrices and the feed-forward's two or three."""
        return self.layers * (4 * self.hidden**2 + (2 + self.gated) * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        """All weights, but for some thousands in norms, biases and classifier."""
        return self.matrix_weights + self.hidden * (self.vocabulary + 512)


BASE = Shape(12, 768, 50265, 3072)
# By name on the Hub. (The configs in ltp.benchmark.calibration make whole models and need transformers.)
SHAPES = {
    "all-MiniLM-L6-v2": Shape(6, 384, 30522, 1536),
    "bert-base-uncased": Shape(12, 768, 30522, 3072),
    "roberta-base": BASE,
    "bert-large-uncased": Shape(24, 1024, 30522, 4096),
    "roberta-large": Shape(24, 1024, 50265, 4096),
    "xlm-roberta-base": Shape(12, 768, 250002, 3072),
    "xlm-roberta-large": Shape(24, 1024, 250002, 4096),
    "camembert-base": Shape(12, 768, 32005, 3072),
    "ModernBERT-base": Shape(22, 768, 50368, 1152, gated=True),
    "ModernBERT-large": Shape(28, 1024, 50368, 2624, gated=True),
    "deberta-v3-small": Shape(6, 768, 128100, 3072),
    "deberta-v3-base": Shape(12, 768, 128100, 3072),
    "deberta-v3-large": Shape(24, 1024, 128100, 4096),
    "distilbert-base-uncased": Shape(6, 768, 30522, 3072),
    "distilbert-base-multilingual-cased": Shape(6, 768, 119547, 3072),
    "electra-small-discriminator": Shape(12, 256, 30522, 1024),
    "electra-base-discriminator": Shape(12, 768, 30522, 3072),
}


def encoder_shape(grid: Grid) -> Shape:
    """The shape of the grid's encoder; that of roberta-base for a model of the Hub that is not in SHAPES."""
    model = grid.config.model
    if model["source"] != "local":
        return SHAPES.get(model["name"].rpartition("/")[2], BASE)
    config = read_config(Path(model["path"]))
    names = ("num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size")
    layers, hidden, vocabulary, intermediate = (int(config_value(config, name)) for name in names)
    return Shape(layers, hidden, vocabulary, intermediate, ENCODERS[config["model_type"]].gated)


def memory_mb(grid: Grid, run: Run, attempt: int = 1) -> int:
    """Main memory of a training, in MB: the libraries, the model with its optimiser, one batch's activations."""
    shape, settings = encoder_shape(grid), run.settings
    data: DataSettings = grid.config.tasks[run.task]["data"]
    tokens: float = settings["batch_size"] / settings["accumulation_steps"] * data.max_length
    activations = tokens * shape.layers * shape.hidden * BYTES_PER_ACTIVATION
    each = LIBRARIES_MB + shape.parameters * BYTES_PER_PARAMETER / 1e6
    return math.ceil(attempt * (SNAKEMAKE_MB + grid.config.processes * each + activations / 1e6))


def minutes(grid: Grid, run: Run, attempt: int = 1) -> int:
    """Time limit of a training, in minutes: twice the time that its products take.

    They are 6 FLOPs per weight and token (forward and backward), and 2 for tokens that are only answered: validation
    and test text, and that on which thresholds are set.
    """
    size = task_size(grid.results_dir, grid.config.tasks[run.task]["data"])
    tokens = run_tokens(run, size)
    if tokens is None:
        return attempt * UNKNOWN_MINUTES
    answered = 2 * (size.validation_examples or 0) + (THRESHOLD_TEXTS if run.settings.get("flops_target") else 0)
    flops = encoder_shape(grid).matrix_weights * (6 * tokens + 2 * answered * size.mean_length)
    speed = (GPU_FLOPS if grid.config.gpus else CPU_FLOPS) * grid.config.processes
    return attempt * math.ceil(START_MINUTES + 2 * flops / speed / 60)
