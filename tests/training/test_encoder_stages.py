"""Every encoder from its folder to a run: a grid takes it, and it is trained, converted and pruned."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny
from helpers.tiny_text import save_tokenizer, write_sentences
from transformers import AutoModelForSequenceClassification

from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.grid import resources
from ltp.grid.grid import Grid
from ltp.results.run import read_metrics
from ltp.settings.data import DataSettings
from ltp.settings.pruning import PruningSettings
from ltp.settings.training import TrainingSettings
from ltp.text.prepare import prepare
from ltp.training.stage import Stage
from ltp.training.stages import train


@pytest.fixture(params=(*tiny.KINDS, *tiny.ALIKE))
def encoder(request, tmp_path):
    """A random encoder without a classifier, as published ones come, and data for it."""
    folder, text = tmp_path / "encoder", tmp_path / "text"
    base = tiny.base_model(request.param, vocab_size=save_tokenizer(folder), initializer_range=0.2)
    base.base_model.save_pretrained(folder)
    text.mkdir()
    write_sentences(text / "train.tsv", 32, first=0)
    write_sentences(text / "dev.tsv", 16, first=32)
    settings = DataSettings(task="sst2", source="local", path=str(text), model=str(folder), max_length=24)
    prepare(settings, tmp_path / "data")
    return folder, base


def test_a_study_s_stages(encoder, tmp_path):
    folder, base = encoder
    grid = {"tasks": {"rotten_tomatoes": {}}, "model": {"source": "local", "path": str(folder)}}
    if base.config.model_type not in tiny.SOFT_KINDS + tiny.ALIKE:
        with pytest.raises(LTPError, match=r"soft\.lambdas: soft masks do not fit modernbert, which normalises"):
            Grid(grid)
        grid["soft"] = {"flops_targets": [0.5]}
    study = Grid(grid)
    shape = resources.encoder_shape(study)
    per_layer = sum(weight.numel() for name, weight in base.named_parameters() if weight.dim() == 2 and ".2." in name)
    assert shape.layers == 4 and shape.hidden == 32 and 0 < shape.matrix_weights <= 4 * per_layer
    assert shape.matrix_weights == pytest.approx(4 * per_layer, rel=0.25)  # but for products with positions

    data, settings = tmp_path / "data", TrainingSettings(learning_rate=1e-3, batch_size=8, precision="fp32")
    dropped = TrainingSettings(learning_rate=1e-3, batch_size=8, precision="fp32", dropout=0.3)
    train(Stage("base", "dense", str(folder), data, tmp_path / "base", dropped))
    dense = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    assert type(dense) is type(base)
    assert all(getattr(dense.config, key) == 0.3 for key in resources.ENCODERS[base.config.model_type].dropout)

    pruning = PruningSettings(final_token_threshold=0.06, score_length=16)
    convert(tmp_path / "base", tmp_path / "converted", pruning)
    train(Stage("hard", "ltp", str(tmp_path / "converted"), data, tmp_path / "hard", settings))
    metrics = read_metrics(tmp_path / "hard")
    assert metrics["status"] == "complete" and metrics["flops"]["test"]["relative"] < 1.0
    with torch.no_grad():
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "hard")
        assert torch.isfinite(model(torch.tensor([[2, 5, 6, 3]])).logits).all()
