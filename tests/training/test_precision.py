"""bf16 by one setting, on a processor too, and TensorBoard logs by another: what they change and what they do not."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.tiny import batch, pruning_model, sentences
from safetensors.numpy import load_file

from ltp.cli.main import main
from ltp.conversion.convert import convert
from ltp.models import encoder, pruning
from ltp.results.run import read_metrics, read_predictions
from ltp.settings.pruning import PruningSettings
from ltp.training.evaluation import evaluate_checkpoint
from ltp.training.precision import has_bf16
from ltp.training.trainer import LTPTrainer

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


class TestAuto:
    """The default: bf16 where the hardware has it, fp32 elsewhere. The record says which."""

    @pytest.mark.parametrize(("hardware", "expected"), [(True, "bf16"), (False, "fp32")])
    def test_it_is_the_format_of_the_hardware(self, tiny_study, tmp_path, monkeypatch, one_thread, hardware, expected):
        monkeypatch.setattr("ltp.training.precision.has_bf16", lambda: hardware)
        assert train(tiny_study, tiny_study.converted, tmp_path / "auto", *SOFT) == 0
        assert train(tiny_study, tiny_study.converted, tmp_path / "named", *SOFT, f"--precision={expected}") == 0
        auto, named = (read_metrics(tmp_path / name) for name in ("auto", "named"))
        assert auto["settings"]["precision"] == expected
        del auto["timing"], named["timing"], auto["fingerprint"], named["fingerprint"]
        assert auto == named  # the sha256 of weights and predictions are in it

    @pytest.mark.parametrize("avx512", [True, False])
    @pytest.mark.parametrize("amx", [True, False])
    def test_the_processor_is_asked(self, monkeypatch, avx512, amx):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: avx512)
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
        assert has_bf16() is (avx512 or amx)

    def test_the_gpu_is_asked_where_there_is_one(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
        assert has_bf16() is False  # emulation is no hardware


def test_the_same_seed_gives_the_same_bytes_in_bf16(tiny_study, tmp_path, one_thread):
    made = []
    for name in ("first", "second"):
        assert train(tiny_study, tiny_study.converted, tmp_path / name, *SOFT, "--precision=bf16", "--dropout=0.1") == 0
        made.append(read_metrics(tmp_path / name)["files"])
    assert made[0] == made[1]


def test_scores_thresholds_and_regulariser_stay_fp32_under_autocast(monkeypatch):
    """What decides over tokens; only the matrix products are in bf16."""
    model = pruning_model("bert").float().train()
    model.use_soft_masks(1e-3)
    seen = {}
    monkeypatch.setattr(
        encoder, "soft_mask", lambda *given, real=pruning.soft_mask: seen.setdefault("mask", (given, real(*given)))[1]
    )
    monkeypatch.setattr(
        pruning.Rule, "keep_indices",
        lambda *given, real=pruning.Rule.keep_indices: seen.setdefault("received", given[2]) is None or real(*given),
    )  # fmt: skip
    inputs = batch(sentences([9, 12, 5]))
    with torch.autocast("cpu", torch.bfloat16):
        found = model(**inputs, labels=torch.tensor([0, 1, 2]))
        model.use_soft_masks(None)
        model(**inputs)
    (scores, threshold, _), mask = seen["mask"]
    wanted = (scores, threshold, mask, found.regulariser, found.loss, seen["received"])
    assert [value.dtype for value in wanted] == [torch.float32] * len(wanted)
    found.loss.backward()
    assert {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None} == {torch.float32}


def test_frozen_embeddings_are_not_trained_and_cost_no_optimiser_state(tiny_study, tmp_path, monkeypatch):
    name, optimised = "bert.embeddings.word_embeddings.weight", []
    create = LTPTrainer.create_optimizer

    def creates(self, model=None):
        optimizer = create(self, model)
        optimised.append({id(parameter) for group in optimizer.param_groups for parameter in group["params"]})
        embeddings = self.model.get_parameter(name)
        assert (id(embeddings) in optimised[-1]) == embeddings.requires_grad
        return optimizer

    def step(self, *given, real=LTPTrainer.training_step, **options):
        loss = real(self, *given, **options)
        embeddings = self.model.get_parameter(name)
        assert (embeddings.grad is not None) == embeddings.requires_grad
        return loss

    monkeypatch.setattr(LTPTrainer, "create_optimizer", creates)
    monkeypatch.setattr(LTPTrainer, "training_step", step)
    before = load_file(tiny_study.converted / "model.safetensors")
    for folder, flags in (("free", ()), ("frozen", ["--freeze-embeddings"])):
        assert train(tiny_study, tiny_study.converted, tmp_path / folder / "soft", *SOFT, *flags) == 0
        assert train(tiny_study, tmp_path / folder / "soft", tmp_path / folder / "hard", *HARD, *flags) == 0
        for stage in ("soft", "hard"):
            after = load_file(tmp_path / folder / stage / "model.safetensors")
            assert (before[name] == after[name]).all() == (folder == "frozen")
            assert (before["classifier.weight"] != after["classifier.weight"]).any()
            assert read_metrics(tmp_path / folder / stage)["settings"].get("freeze_embeddings") == (
                True if folder == "frozen" else None
            )
    assert len(optimised[2]) == len(optimised[0]) - 1


def test_the_control_trains_on_without_pruning(tiny_study, tmp_path):
    """Dense, trained as long: a conversion that prunes nothing, and the hard stage."""
    convert(tiny_study.base, tmp_path / "converted", PruningSettings(prune_mode="none"))
    assert train(tiny_study, tmp_path / "converted", tmp_path / "run", "--stage=hard", "--method=dense+") == 0
    metrics = read_metrics(tmp_path / "run")
    assert (metrics["method"], metrics["settings"]["prune_mode"]) == ("dense+", "none")
    assert {cost["relative"] for cost in metrics["flops"].values()} == {1.0}
    assert "no pruning, trained as long" in (tmp_path / "run/README.md").read_text()


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
