"""`import ltp` is all that transformers needs to load a saved model; and what needs no torch does not import it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from helpers import tiny
from helpers.one_call import save_classifier
from helpers.tiny_text import save_tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from ltp.common.errors import LTPError
from ltp.conversion.convert import convert
from ltp.models.loading import load_pruned
from ltp.models.modeling import LTPForSequenceClassification
from ltp.settings.pruning import PruningSettings

# What must start in a blink; the import contract in pyproject.toml forbids torch to whole packages.
TORCH_FREE = (
    "ltp", "ltp.analysis.tables", "ltp.cli.main", "ltp.conversion.convert", "ltp.grid.progress",
    "ltp.report.page", "ltp.report.plots", "ltp.results.verify", "ltp.settings.data", "ltp.text.prepare",
    "ltp.training.model_card",
)  # fmt: skip
BLIND = """
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    loaded = {{"torch", "transformers", "datasets"}} & set(sys.modules)
    assert not loaded, (name, loaded)
"""
LOAD = """
{imports}
import json
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline
model = AutoModelForSequenceClassification.from_pretrained({path!r})
assert type(model).__name__ == "LTPForSequenceClassification", type(model)
assert AutoConfig.from_pretrained({path!r}).base_model_type == "bert"
assert model.threshold_deltas.tolist() == [0.0, 0.25, -0.5], model.threshold_deltas
tokenizer = AutoTokenizer.from_pretrained({path!r})
classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
for texts in (["a fine film"], ["a fine film", "the plot was dull but the actor was so very warm"]):
    print(json.dumps(classify(texts, batch_size=len(texts))))
"""


FIRST = """
import importlib
importlib.import_module({name!r})
from transformers import AutoConfig
assert type(AutoConfig.for_model("ltp")).__name__ == "LTPConfig"
"""


def run(code: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    "name", ["ltp.models.configuration", "ltp.models.layouts.registry", "ltp.models.flops", "ltp.oneshot.texts"]
)
def test_any_module_may_be_imported_first(name):
    run(FIRST.format(name=name))


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM"])
def test_a_model_without_a_head_is_not_given_one_at_random(tmp_path, architecture):
    save_classifier(tmp_path, architecture=architecture)
    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["BertForSequenceClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LTPError, match=r"has no weights \w+\.\w+.*; expected a fine-tuned model, not an encoder alone"):
        load_pruned(tmp_path)
    with pytest.raises(LTPError, match=r"model\.safetensors: has none of classifier\.weight.* not an encoder alone"):
        convert(tmp_path, tmp_path / "converted", PruningSettings())


def test_weights_of_other_shapes_are_named_in_a_line(tmp_path):
    """As of an earlier version, whose probes had no intercept."""
    tiny.scored_model("bert", "saliency").float().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["saliency_probes"] = weights["saliency_probes"][:, :-1].contiguous()
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(LTPError, match=r"saliency_probes has the shape \[4, 32\], config.json asks for \[4, 33\]"):
        load_pruned(tmp_path)


def test_the_library_s_trainer_hands_on_the_outputs_alone(saved, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(saved[0])
    rows = [{"input_ids": [2, 5, 6, 3], "attention_mask": [1] * 4, "labels": number % 2} for number in range(4)]
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True)
    trainer = Trainer(model, arguments, compute_metrics=lambda found: {"rows": len(found.predictions)})
    assert trainer.predict(rows).predictions.shape == (4, 2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with learned thresholds and its tokenizer."""
    folder = tmp_path_factory.mktemp("loading") / "model"
    base = tiny.base_model("bert", layers=3, labels=2, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    model = LTPForSequenceClassification.from_base(base, tiny.PRUNING["absolute_threshold"])
    model.threshold_deltas.data = torch.tensor([0.0, 0.25, -0.5])
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder, model


@pytest.mark.parametrize(
    "imports",
    ["import ltp, transformers", "import transformers, ltp", "import ltp.models.modeling", "import ltp.models.heads"],
)
def test_loads_after_import_in_either_order_and_runs_in_a_pipeline(saved, imports):
    folder, model = saved
    printed = run(LOAD.format(imports=imports, path=str(folder))).splitlines()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for text in ("a fine film", "the plot was dull but the actor was so very warm"):
        with torch.no_grad():
            found = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        expected.append(
            {"label": ("bad", "good")[found.argmax()], "score": pytest.approx(found.max().item(), abs=1e-5)}
        )
    single, both = (json.loads(line) for line in printed)
    assert single == expected[:1] and both == expected


def test_what_needs_no_torch_does_not_import_it():
    run(BLIND.format(names=TORCH_FREE))
