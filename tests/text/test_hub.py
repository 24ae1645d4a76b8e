"""The Hub, through its own clients against a small server on the loopback, and without any network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.hub_server import COMMIT, serve

from ltp.common.io import file_sha256
from ltp.text.packaged import packaged_model_path

CARD = """---
configs:
- config_name: sst2
  data_files:
  - {split: train, path: sst2/train-*}
  - {split: validation, path: sst2/validation-*}
  - {split: test, path: sst2/test-*}
dataset_info:
- config_name: sst2
  features:
  - {name: sentence, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': negative, '1': positive}}}
---
"""
# In a process of its own: the clients read HF_ENDPOINT and HF_HOME when they are imported.
SCRIPT = """
import json, sys
from ltp.common.errors import LTPError
from ltp.text.splitting import split_examples
from ltp.settings.data import DataSettings
from ltp.text.encoder import encoder_record, resolve_model
from ltp.text.prepare import prepare
from ltp.text.sources import read_source

def data(**settings):
    settings = DataSettings(source="hub", **settings)
    source = read_source(settings, settings.get_task())
    task, frames, selection, _ = split_examples(source, settings)
    examples = {name: len(frame) for name, frame in frames.items()}
    return source.origin | {"examples": examples, "selection": selection, "labels": task.labels}

def model(**given):
    folder = resolve_model(given.pop("name"), **given)
    return {"folder": folder.name, "files": sorted(path.name for path in folder.iterdir())}

def prepared(**settings):
    info = prepare(DataSettings(source="hub", model_source="hub", max_length=16, **settings), "prepared")
    return {name: info[name] for name in ("model_revision", "source", "inputs")}

def encoder(**given):
    return encoder_record(given["name"], resolve_model(given["name"]))

for kind, given in json.loads(sys.stdin.read()):
    try:
        answer = {"data": data, "model": model, "prepared": prepared, "encoder": encoder}[kind](**given)
    except LTPError as error:
        answer = str(error)
    print("ANSWER", json.dumps(answer))
"""
PIN = {"task": "sst2", "revision": COMMIT}
BODY = {"task": "x", "path": "acme/reviews", "text_columns": ["body"]}
MODEL = {"name": "acme/encoder", "revision": COMMIT}


def ask(home: Path, endpoint: str, *questions: tuple[str, dict]) -> list:
    """The answers of a fresh process that knows this endpoint and this cache."""
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home)}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN", "HF_DATASETS_CACHE", "HF_HUB_CACHE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(questions), env=environment, cwd=home, text=True,
        capture_output=True, timeout=120,
    )  # fmt: skip
    answers = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(answers) == len(questions), done.stderr[-2000:]
    return answers


def sentences(count: int, hidden: bool = False) -> pd.DataFrame:
    rows = [
        (f"{'fine' if row % 2 else 'dull'} film {row} of {count}", -1 if hidden else row % 2) for row in range(count)
    ]
    return pd.DataFrame(rows, columns=["sentence", "label"])


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub with GLUE's SST-2 (test labels hidden), a data set of another's, and an encoder with a pickle beside."""
    root = tmp_path_factory.mktemp("hub")
    glue, reviews, encoder = (
        root / "datasets/nyu-mll/glue",
        root / "datasets/acme/reviews",
        root / "models/acme/encoder",
    )
    for folder in (glue / "sst2", reviews, encoder):
        folder.mkdir(parents=True)
    (glue / "README.md").write_text(CARD)
    for split, count in (("train", 40), ("validation", 12), ("test", 6)):
        sentences(count, hidden=split == "test").to_parquet(glue / f"sst2/{split}-00000-of-00001.parquet")
    sentences(30).rename(columns={"sentence": "body"}).to_csv(reviews / "train.csv", index=False)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        shutil.copy(packaged_model_path() / name, encoder / name)
    (encoder / "pytorch_model.bin").write_bytes(b"a pickle, not to be fetched")
    with serve(root) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def online(hub, tmp_path_factory):
    """A cache folder, and what the Hub answered to those who filled it."""
    home = tmp_path_factory.mktemp("home")
    (home / "nyu-mll/glue").mkdir(parents=True)  # a folder of the same name is not taken for the data set
    (home / "nyu-mll/glue/train.csv").write_text("sentence,label\nwrong,1\n")
    questions = {
        "pinned": ("data", PIN),
        "custom": ("data", BODY),
        "no commit": ("data", {"task": "sst2"}),
        "no subset": ("data", {"task": "rte", "revision": COMMIT}),
        "no data set": ("data", {**BODY, "path": "acme/none"}),
        "no column": ("data", {**BODY, "text_columns": ["sentence"]}),
        "tokenizer": ("model", {**MODEL, "weights": False}),
        "model": ("model", MODEL),
        "prepared": ("prepared", {**BODY, "model": "acme/encoder"}),
        "encoder": ("encoder", {"name": "acme/encoder"}),
        "no model": ("model", {"name": "acme/none"}),
        "no model commit": ("model", {"name": "acme/encoder", "revision": "v9"}),
        "no name": ("model", {"name": "a/b/c", "source": "hub"}),
    }
    return home, dict(zip(questions, ask(home, hub, *questions.values()), strict=True))


def test_glue_comes_at_its_pinned_commit(online):
    answer = online[1]["pinned"]
    assert answer["path"] == "nyu-mll/glue" and answer["subset"] == "sst2" and answer["revision"] == COMMIT
    assert answer["examples"] == {"train": 40, "validation": 6, "test": 6} and answer["selection"] == "half"


def test_any_data_set_comes_at_a_commit_that_is_noted(online):
    answer = online[1]["custom"]
    assert answer["revision"] == COMMIT and answer["labels"] == ["0", "1"]
    assert answer["examples"] == {"train": 24, "validation": 3, "test": 3} and answer["selection"] == "split"


def test_a_model_comes_without_its_pickle(online):
    assert online[1]["tokenizer"] == {
        "folder": COMMIT,
        "files": ["config.json", "tokenizer.json", "tokenizer_config.json"],
    }
    assert online[1]["model"]["files"] == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_the_commit_that_was_read_stands_in_the_records(online):
    """Where no revision was asked for, too: the newest of today is not that of tomorrow."""
    prepared = online[1]["prepared"]
    assert prepared["model_revision"] == COMMIT == prepared["source"]["revision"] and prepared["inputs"] == {}
    sha256 = file_sha256(packaged_model_path() / "model.safetensors")
    expected = {"name": "acme/encoder", "source": "hub", "revision": COMMIT, "sha256": sha256}
    assert online[1]["encoder"] == expected


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("no commit", "hub: data set nyu-mll/glue, configuration sst2: it has no revision 'bcdcba79"),
        (
            "no subset",
            "hub: data set nyu-mll/glue, configuration rte: BuilderConfig 'rte' not found. Available: ['sst2']",
        ),
        ("no data set", "hub: data set acme/none: no such data set on the Hub, or a private one; fix its name"),
        ("no column", "acme/reviews train: no column 'sentence', it has body, label"),
        ("no model", "hub: model acme/none: no such model on the Hub, or a private one; fix its name"),
        ("no model commit", "hub: model acme/encoder: it has no revision 'v9'; fix revision"),
        ("no name", "hub: model a/b/c: no such model on the Hub"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(online, question, message):
    answer = online[1][question]
    assert message in answer and "\n" not in answer


def test_without_network_the_cache_serves_the_pinned_commit_and_no_other(online):
    home = online[0]
    other = "f" * 40
    pinned, wrong, model, missing, no_model = ask(
        home,
        "http://127.0.0.1:9",  # nobody listens at the discard port
        ("data", PIN),
        ("data", {"task": "sst2", "revision": other}),
        ("model", MODEL),
        ("data", {**BODY, "path": "acme/none"}),
        ("model", {"name": "roberta-base"}),
    )
    assert pinned == online[1]["pinned"] and model == online[1]["model"]
    assert f"the cache has revision {COMMIT}, expected {other}" in wrong
    cannot = "the Hub cannot be reached from this machine and its cache has no copy; check the network; or "
    assert missing == f"hub: data set acme/none: {cannot}download it elsewhere and set source: local with its path"
    assert no_model == f"hub: model roberta-base: {cannot}name a local folder that holds it"
