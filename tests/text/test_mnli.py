"""MNLI's two validation splits, matched and mismatched: both are scored, and both stand in the tables."""

import csv

import pytest

from ltp.analysis.tables import write_tables
from ltp.cli.main import main
from ltp.results.run import read_metrics, read_predictions

LABELS = ("entailment", "neutral", "contradiction")


@pytest.fixture(scope="module")
def run(tiny_encoder, tmp_path_factory):
    """A dense run on text in the layout of GLUE's download; the mismatched texts are longer."""
    root = tmp_path_factory.mktemp("mnli")
    for name, count, words in (("train", 48, 3), ("dev_matched", 24, 3), ("dev_mismatched", 18, 8)):
        rows = [f"a film {'actor ' * words}{name} {row}\twith a plot {row}\t{LABELS[row % 3]}" for row in range(count)]
        (root / f"{name}.tsv").write_text("\n".join(["sentence1\tsentence2\tgold_label", *rows]) + "\n")
    data = ["--task=mnli", "--source=local", f"--path={root}", f"--model={tiny_encoder}", "--max-length=32"]
    assert main(["data", f"--output={root}/data", *data]) == 0
    where = [f"--checkpoint={tiny_encoder}", f"--data={root}/data", f"--output={root}/results/mnli/seed~0/dense/base"]
    assert main(["train", "--stage=base", "--method=dense", "--batch-size=16", *where]) == 0
    return root / "results/mnli/seed~0/dense/base"


def test_both_are_scored(run):
    metrics = read_metrics(run)
    assert set(metrics["metrics"]) == set(metrics["flops"]) == {"validation", "test", "test_mismatched"}
    predictions = read_predictions(run)
    assert [len(predictions[name]["labels"]) for name in ("validation", "test", "test_mismatched")] == [12, 12, 18]
    cost = metrics["flops"]
    assert cost["test_mismatched"]["gflops"] > 1.2 * cost["test"]["gflops"]
    # Tokens per layer are those of the matched test split.
    assert metrics["layers"]["attention_tokens"][0] < 17


def test_both_stand_in_the_tables(run, tmp_path):
    assert write_tables([run / "metrics.json"], tmp_path) == []
    metrics = read_metrics(run)["metrics"]
    (row,) = csv.DictReader((tmp_path / "runs.csv").open())
    for split in ("validation", "test", "test_mismatched"):
        assert float(row[f"{split}_accuracy"]) == pytest.approx(100 * metrics[split]["accuracy"], abs=0.01)
    (summary, *_) = csv.DictReader((tmp_path / "summary.csv").open())
    assert f"test_mismatched_accuracy={100 * metrics['test_mismatched']['accuracy']:.2f}" in ",".join(summary.values())


def test_both_stand_on_the_model_card(run):
    card, metrics = (run / "README.md").read_text(), read_metrics(run)["metrics"]
    matched, mismatched = (metrics[split]["accuracy"] for split in ("test", "test_mismatched"))
    assert "| | test | test_mismatched |\n|---|---|---|\n" in card
    assert f"| accuracy | {matched:.4f} | {mismatched:.4f} |" in card
