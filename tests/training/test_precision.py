"""bf16 by one setting, on a processor too, and TensorBoard logs by another: what they change and what they do not."""

import sys
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import load_file

from ltp.cli.main import main
from ltp.results.run import read_metrics, read_predictions
from ltp.training.evaluation import evaluate_checkpoint

SOFT = ["--stage=soft", "--method=ltp", "--temperature=0.02", "--lambda=0.1", "--threshold-learning-rate=0.001"]
HARD = ["--stage=hard", "--method=ltp"]
COMMON = ["--batch-size=8", "--epochs=2", "--learning-rate=0.001", "--dropout=0"]


def train(study, start, folder, *flags) -> int:
    return main(["train", f"--checkpoint={start}", f"--data={study.data}", f"--output={folder}", *COMMON, *flags])


def test_bf16_trains_soft_and_hard_close_to_fp32(tiny_study, tmp_path):
    for precision in ("fp32", "bf16"):
        soft, hard = tmp_path / precision / "soft", tmp_path / precision / "hard"
        assert train(tiny_study, tiny_study.converted, soft, *SOFT, f"--precision={precision}") == 0
        assert train(tiny_study, soft, hard, *HARD, f"--precision={precision}") == 0
    for stage in ("soft", "hard"):
        full, half = (tmp_path / precision / stage for precision in ("fp32", "bf16"))
        found, expected = read_metrics(half), read_metrics(full)
        assert found["status"] == "complete" and found["settings"]["precision"] == "bf16"
        validation = expected["metrics"]["validation"]
        assert found["metrics"]["validation"]["loss"] == pytest.approx(validation["loss"], rel=0.05)
        assert found["flops"]["validation"]["relative"] == pytest.approx(
            expected["flops"]["validation"]["relative"], abs=0.02
        )
        assert expected["flops"]["validation"]["relative"] < 0.95  # tokens do go
        assert set(read_predictions(half)) == set(read_predictions(full))
        before, after = load_file(full / "model.safetensors"), load_file(half / "model.safetensors")
        for name, value in before.items():
            assert after[name].dtype == value.dtype == np.float32  # only the products are in bf16
            assert np.isfinite(after[name]).all()
        assert any((before[name] != after[name]).any() for name in before)  # it was not fp32 by another name


def test_the_figures_of_a_bf16_run_are_those_of_its_checkpoint(tiny_study, tmp_path):
    """What `ltp evaluate` finds in fp32, not what autocast found; the record says in which precision."""
    assert train(tiny_study, tiny_study.converted, tmp_path / "run", *HARD, "--precision=bf16") == 0
    metrics, found = read_metrics(tmp_path / "run"), evaluate_checkpoint(tmp_path / "run", tiny_study.data)
    for part in ("metrics", "flops", "layers"):
        assert metrics[part] == found[part]
    assert metrics["environment"]["evaluation_precision"] == "fp32"
    assert "evaluation_precision" not in read_metrics(tiny_study.base)["environment"]


class TestTensorBoard:
    FLAGS = ("--tensorboard", *SOFT)

    def test_logs_lie_in_the_run_directory_and_shape_nothing(self, tiny_study, tmp_path, monkeypatch):
        written = {}

        class SummaryWriter:
            def __init__(self, log_dir):
                self.figures = written.setdefault(log_dir, {})

            def add_scalar(self, name, value, step):
                self.figures[name] = (value, step)

            def add_text(self, *given):
                pass

            flush = close = add_text

        module = ModuleType("torch.utils.tensorboard")
        module.SummaryWriter = SummaryWriter
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
        monkeypatch.setattr("transformers.integrations.is_tensorboard_available", lambda: True)
        monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: True)
        assert train(tiny_study, tiny_study.converted, tmp_path / "run", *self.FLAGS) == 0
        assert train(tiny_study, tiny_study.converted, tmp_path / "without", *SOFT) == 0
        (figures,) = written.values()
        assert list(written) == [str(tmp_path / "run/tensorboard")]
        assert figures["train/loss"][1] == 10 and np.isfinite(figures["train/loss"][0])
        metrics = [read_metrics(tmp_path / name) for name in ("run", "without")]
        assert metrics[0]["settings"] == metrics[1]["settings"]
        assert metrics[0]["files"]["model.safetensors"] == metrics[1]["files"]["model.safetensors"]

    def test_a_missing_package_is_one_line_before_training(self, tiny_study, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr("transformers.integrations.is_tensorboard_available", lambda: False)
        assert train(tiny_study, tiny_study.converted, tmp_path / "run", *self.FLAGS) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        missing = "needs tensorboard, which is not installed; pip install 'learned-token-pruning[tensorboard]'"
        assert line == f"ltp train: tensorboard: true: {missing}"
        assert not (tmp_path / "run/metrics.json").exists()

    def test_one_line_of_the_grid_asks_for_them(self):
        from ltp.grid.grid import Grid

        grid = Grid({"tasks": {"imdb": {}}, "training": {"tensorboard": True}})
        assert all("--tensorboard" in grid.training_flags(directory) for directory in grid.runs)
