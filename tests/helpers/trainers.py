"""A trainer of tiny models, and its data."""

from __future__ import annotations

import datasets

from helpers import tiny
from ltp.settings.training import TrainingSettings
from ltp.training.collator import Collator
from ltp.training.trainer import LTPTrainer, training_arguments

LENGTHS = [3, 9, 5, 12, 4, 7, 6, 10]
PAD = 1


def dataset(lengths=LENGTHS, seed: int = 0) -> datasets.Dataset:
    rows = tiny.sentences(lengths, seed)
    columns = {"input_ids": [row.tolist() for row in rows], "labels": [number % 3 for number in range(len(rows))]}
    return datasets.Dataset.from_dict({**columns, "length": list(lengths), "row": list(range(len(rows)))})


def make_trainer(model, folder, teacher=None, callbacks=(), data=None, **settings) -> LTPTrainer:
    chosen = TrainingSettings(**{"batch_size": 8, "learning_rate": 1e-3, **settings})
    if chosen.temperature:
        model.use_soft_masks(chosen.temperature)
    return LTPTrainer(
        chosen,
        model=model,
        args=training_arguments(chosen, folder, data_seed=0),
        train_dataset=dataset() if data is None else data,
        data_collator=Collator(PAD, "classification", teacher=teacher),
        callbacks=list(callbacks),
    )
