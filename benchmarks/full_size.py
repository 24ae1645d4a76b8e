"""Do the full-size encoders fit? One training step and one evaluation of roberta-base or -large, with random weights.

    python benchmarks/full_size.py base
    python benchmarks/full_size.py large --batch-size 32 --accumulation-steps 4

Prints seconds and peak memory. The step is the soft stage's, the most expensive: masks, thresholds, AdamW, real shapes
(128 tokens a sentence). The evaluation is the hard one, with tokens removed.
"""

import argparse
import time

import numpy as np
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification

from ltp.common.machine import cpu_threads, peak_memory_mb
from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings
from ltp.training.collator import Collator
from ltp.training.trainer import LTPTrainer, training_arguments

SIZES = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
TOKENS = 128


class Sentences(torch.utils.data.Dataset):
    """Random sentences of full length; ``row`` marks those to train on, as the stages do."""

    def __init__(self, count: int, vocabulary: int, train: bool):
        self.ids = np.random.default_rng(0).integers(3, vocabulary, (count, TOKENS))
        self.train = train

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict:
        return {"input_ids": self.ids[index], "labels": index % 2, **({"row": index} if self.train else {})}


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--accumulation-steps", type=int, default=1)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--state", default="/tmp/ltp-full-size", help="folder for the library's state")
    arguments = parser.parse_args()
    if threads := cpu_threads():
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, **SIZES[arguments.size]
    )
    model = LTPForSequenceClassification.from_base(RobertaForSequenceClassification(config), PruningSettings())
    model.use_soft_masks(1e-3)
    settings = TrainingSettings(
        temperature=1e-3, lambda_=0.1, batch_size=arguments.batch_size,
        accumulation_steps=arguments.accumulation_steps, precision=arguments.precision,
    )  # fmt: skip
    trainer = LTPTrainer(
        settings,
        model=model,
        args=training_arguments(settings, arguments.state, settings.seed),
        train_dataset=Sentences(arguments.batch_size, config.vocab_size, train=True),
        data_collator=Collator(config.pad_token_id, kind="classification"),
    )
    gpu = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} threads of a processor"
    print(f"roberta-{arguments.size}: {model.num_parameters() / 1e6:.0f} M parameters, {where}", flush=True)
    for name, work in (
        ("training step", trainer.train),
        ("evaluation", lambda: trainer.predict(Sentences(32, config.vocab_size, train=False))),
    ):
        started = time.monotonic()
        work()
        memory = f"{peak_memory_mb() / 1e3:.1f} GB of memory"
        if gpu:
            memory += f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB of the GPU's"
        print(f"{name}: {time.monotonic() - started:.0f} s, at most {memory} so far", flush=True)


if __name__ == "__main__":
    main()
