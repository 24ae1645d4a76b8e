"""Shared by all tests: repeatable hypothesis runs, and a tiny encoder with tiny data on disk."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.tiny_text import save_tokenizer, write_sentences
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

# Tests of bad input, by file: each refuses one, in one line, or many (those of test_any_grid, by hypothesis).
BAD_INPUTS = {
    "test_bad_input.py": "test_",
    "test_bad_grids.py": ("test_a_bad_grid_is_refused", "test_a_grid_without", "test_a_file_that_is_no_grid"),
    "test_any_grid.py": ("test_any_un",),
    "test_workflow.py": "test_a_bad_grid",
    "test_sources.py": ("test_a_text_that_does_not_fit", "test_a_broken_file", "test_a_path_that_leads_nowhere"),
    "test_data.py": ("test_a_max_length_beyond", "test_a_broken_tokenizer", "test_damaged_data_are_refused"),
    "test_checkpoints.py": ("test_a_truncated_or_padded", "test_a_checkpoint_that_does_not_fit"),
    "test_hub.py": "test_what_the_hub_does_not_have",
    "test_disturbed_stages.py": "test_a_soft_stage_without",
    "test_tables.py": "test_damaged_table_is_refused",
    "test_prune_bad_input.py": (
        "test_a_text",
        "test_a_file",
        "test_a_wish",
        "test_labels",
        "test_a_model",
        "test_a_tokenizer",
        "test_a_query",
        "test_too_few",
        "test_texts",
        "test_an_output",
    ),
}


def pytest_terminal_summary(terminalreporter):
    """How many faults were injected and bad inputs tried, and what became of them."""
    counts = {"faults": [0, 0], "bad inputs": [0, 0]}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call" or outcome == "error":
                path, _, name = report.nodeid.partition("::")
                kind = "faults" if "faults/" in path else "bad inputs"
                if kind == "faults" or name.startswith(BAD_INPUTS.get(Path(path).name, ("-",))):
                    counts[kind][outcome != "passed"] += 1
    for kind, (good, bad) in counts.items():
        if good or bad:
            ends = ("survived", "lost") if kind == "faults" else ("refused", "let through")
            terminalreporter.write_line(f"{kind}: {good + bad} tried, {good} {ends[0]}, {bad} {ends[1]}")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A checkpoint of a random two-layer BERT, with dropout, and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny") / "encoder"
    config = BertConfig(
        vocab_size=save_tokenizer(folder), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tiny_encoder) -> Path:
    """Tokenised data: 48 sentences to train on, 16 to pick by, 16 to report on."""
    from ltp.settings.data import DataSettings
    from ltp.text.prepare import prepare

    text = tiny_encoder.parent / "text"
    text.mkdir()
    write_sentences(text / "train.tsv", 48, first=0)
    write_sentences(text / "dev.tsv", 32, first=48)
    output = tiny_encoder.parent / "data"
    prepare(DataSettings(task="sst2", source="local", path=str(text), model=str(tiny_encoder), max_length=24), output)
    return output


@pytest.fixture(scope="session")
def tiny_study(tiny_encoder, tiny_data) -> SimpleNamespace:
    """The paths ``encoder``, ``data``, a finished ``base`` run and its conversion ``converted``."""
    from ltp.conversion.convert import convert
    from ltp.settings.pruning import PruningSettings
    from ltp.settings.training import TrainingSettings
    from ltp.training.stage import Stage
    from ltp.training.stages import train

    base, converted = tiny_encoder.parent / "base", tiny_encoder.parent / "converted"
    settings = TrainingSettings(learning_rate=1e-3, epochs=4, batch_size=8, precision="fp32")
    train(Stage("base", "dense", str(tiny_encoder), tiny_data, base, settings))
    # Scores are about 1/16 here, so the last layer's threshold applies to half of the tokens.
    convert(base, converted, PruningSettings(final_token_threshold=0.06, score_length=16))
    return SimpleNamespace(encoder=tiny_encoder, data=tiny_data, base=base, converted=converted)


@pytest.fixture
def one_thread(monkeypatch):
    """One thread for each training, so that sums are made in one order."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def soft(tiny_study, tmp_path_factory):
    """A soft run that nothing disturbed."""
    from helpers.stage_runs import SOFT

    from ltp.training.stage import Stage
    from ltp.training.stages import train

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        folder = tmp_path_factory.mktemp("runs") / "soft"
        train(Stage("soft", "ltp", str(tiny_study.converted), tiny_study.data, folder, SOFT))
    return folder
