"""Several trainings on a machine with several GPUs: each takes one that is free. The GPUs are made up."""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import pytest

from ltp.cli.main import main
from ltp.common import gpus
from ltp.common.errors import LTPError
from ltp.training.environment import require_gpus
from ltp.training.precision import require_precision

TRAIN = ["train", "--stage=base", "--method=dense", "--checkpoint=encoder", "--data=data", "--output=run"]


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with GPUs 0, 1 and 2 and with lock files of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")


@pytest.fixture
def running():
    """Start trainings: ``running(2)`` is one that reserves two GPUs; returns which."""
    with ExitStack() as all_of_them:

        def start(wanted: int = 1) -> list[str]:
            before = os.environ["CUDA_VISIBLE_DEVICES"]
            mine = all_of_them.enter_context(gpus.reserved(wanted))
            assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(mine)
            os.environ["CUDA_VISIBLE_DEVICES"] = before  # the next one is another process
            return mine

        yield start


def test_each_training_takes_a_gpu_of_its_own(running):
    assert [running(), running(), running()] == [["0"], ["1"], ["2"]]


def test_more_trainings_than_gpus_share_them_evenly(running):
    assert sorted(running()[0] for _ in range(6)) == ["0", "0", "1", "1", "2", "2"]


def test_a_training_of_several_processes_takes_different_gpus(running):
    assert running(2) == ["0", "1"]
    assert running(2) == ["2", "0"]


def test_a_gpu_is_free_again_when_its_training_ends():
    with gpus.reserved(1) as first:
        pass
    with gpus.reserved(1) as second:
        assert first == second == ["0"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2"


def test_a_gpu_is_free_again_when_its_training_is_killed(tmp_path):
    script = f"import os, tempfile; tempfile.tempdir = {str(tmp_path)!r}\n"
    script += (
        "from ltp.common import gpus\nwith gpus.reserved(1) as mine: print(mine, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "['0']\n" and done.returncode == -9
    with gpus.reserved(1) as mine:
        assert mine == ["0"]


@pytest.mark.parametrize(("visible", "wanted"), [("5", 1), ("", 1), ("GPU-a,GPU-b", 2)])
def test_where_there_is_nothing_to_choose_nothing_changes(monkeypatch, tmp_path, visible, wanted):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with gpus.reserved(wanted) as mine:
        assert mine == [name for name in visible.split(",") if name]
        assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert not list(tmp_path.iterdir())


def test_the_driver_says_what_is_there_where_the_environment_does_not(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    driver = tmp_path / "bin/nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\necho GPU-one; echo GPU-two\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(driver.parent), prepend=os.pathsep)
    with gpus.reserved(1) as mine:
        assert mine == ["GPU-one"] and os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-one"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    driver.write_text("#!/bin/sh\nexit 9\n")  # no driver
    assert gpus.visible_gpus() == []


def test_a_training_chooses_before_it_looks(monkeypatch):
    import ltp.cli.train as command

    seen = []
    monkeypatch.setattr(command, "_train", lambda *given: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]) or 0)
    with gpus.reserved(1):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
        assert main(TRAIN) == 0
    assert seen == ["1"]


def test_one_of_several_processes_leaves_the_choice_to_its_launcher(monkeypatch):
    import ltp.cli.train as command

    seen = []
    monkeypatch.setattr(command, "_train", lambda *given: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]) or 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(TRAIN) == 0
    assert seen == ["0,1,2"]


class TestMissingGpu:
    @pytest.fixture(autouse=True)
    def none(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    def test_a_grid_that_asks_for_one_is_told_in_one_line(self, capsys):
        assert main([*TRAIN, "--gpus=1"]) == 1
        expected = "gpus: 1 asked for, none can be used here; run where there are as many, or set gpus: 0 in the grid"
        assert capsys.readouterr().err == f"ltp train: {expected}\n"

    def test_fp16_is_told_before_anything_is_read(self, capsys):
        assert main([*TRAIN, "--precision=fp16"]) == 1
        expected = "ltp train: precision: fp16 needs a GPU, and none can be used here; use fp32 or bf16\n"
        assert capsys.readouterr().err == expected

    def test_bf16_runs_on_a_processor(self):
        require_precision("bf16")
        require_precision("fp32")
        require_gpus(0)


def test_bf16_on_a_gpu_that_cannot_is_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Tesla V100")
    with pytest.raises(LTPError, match="precision: bf16 is more than this GPU, Tesla V100, can do; use fp16 or fp32"):
        require_precision("bf16")
    require_precision("fp16")


def test_without_nvidia_smi_the_drivers_own_list_is_counted(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "LISTED", tmp_path / "gpus")
    assert gpus.visible_gpus() == []
    for bus in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
    assert gpus.visible_gpus() == ["0", "1"]
