"""`import ltp` is all that transformers needs to load a saved model; and what needs no torch does not import it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from helpers import tiny
from helpers.tiny_text import save_tokenizer
from transformers import AutoTokenizer

from ltp.models.modeling import LTPForSequenceClassification

# What must start in a blink; the import contract in pyproject.toml forbids torch to whole packages.
TORCH_FREE = (
    "ltp", "ltp.analysis.tables", "ltp.cli.main", "ltp.conversion.convert", "ltp.grid.progress", "ltp.models.flops",
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


def run(code: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


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
