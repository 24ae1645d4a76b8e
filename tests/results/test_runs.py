"""Run directories: what is written is read back, and damage is found, named and never taken for a result."""

import argparse
import json
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers.fake_study import metrics_of, write

from ltp.cli import verify as verify_command
from ltp.common.errors import LTPError
from ltp.common.io import file_sha256, write_json
from ltp.results.checkpoint import weights_sha256
from ltp.results.manifest import fingerprint, read_manifest, write_manifest
from ltp.results.run import read_metrics, read_predictions, write_predictions, write_run
from ltp.results.verify import verify_run, verify_tree


@pytest.fixture
def run(tmp_path):
    """A complete run directory."""
    return write(tmp_path / "run", metrics_of("ltp", "hard", 0, 0.83, 0.6, temperature=1e-3)).parent


def one_line(problem):
    """The message of an error, after checking that it is one line that says how to fix it."""
    text = str(problem)
    assert "\n" not in text and re.search("run (snakemake|it) again", text)
    return text


def test_written_run_is_read_back(run):
    metrics = read_metrics(run)
    assert metrics == read_metrics(run / "metrics.json")
    assert metrics["schema"] == 1 and metrics["settings"]["temperature"] == 1e-3
    assert set(metrics["files"]) == {"config.json", "model.safetensors", "predictions.json"}
    assert "sha256" not in metrics["timing"]
    assert len(read_predictions(run)["test"]["labels"]) == 400
    assert verify_run(run) == []


def test_fingerprint_ignores_timing_and_nothing_else(tmp_path):
    metrics = metrics_of("ltp", "hard", 0, 0.83, 0.6)
    prints = []
    for name, change in (("a", {}), ("b", {"timing": {"train_seconds": 99.0}}), ("c", {"seed": 1})):
        prints.append(read_metrics(write(tmp_path / name, metrics | change, noise=3))["fingerprint"])
    assert prints[0] == prints[1] != prints[2]


def test_numpy_becomes_plain_and_nan_becomes_null(run):
    metrics = metrics_of("ltp", "hard", 0, 0.8, 0.6)
    metrics |= {"seed": np.int64(3), "layers": {"threshold": np.array([0.5, 0.25])}}
    metrics["metrics"]["test"] = {"accuracy": np.float32(0.5), "loss": float("nan")}
    write_run(run, metrics)
    read = read_metrics(run)
    assert read["seed"] == 3 and read["layers"]["threshold"] == [0.5, 0.25]
    assert read["metrics"]["test"] == {"accuracy": 0.5, "loss": None}


@pytest.mark.parametrize("name", ["config.json", "predictions.json"])
def test_incomplete_run_is_not_sealed(run, name):
    (run / "metrics.json").unlink()
    (run / name).unlink()
    with pytest.raises(LTPError, match=name):
        write_run(run, metrics_of("ltp", "hard", 0, 0.8, 0.6))
    assert not (run / "metrics.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "magic"}, "magic"),
        ({"encoder": "bert"}, "encoder"),
        ({"seed": "0"}, "seed"),
        ({"seed": True}, "seed"),
        ({"task": None}, "task"),
    ],
)
def test_wrong_metrics_are_not_written(run, change, said):
    with pytest.raises(LTPError, match=said):
        write_run(run, metrics_of("ltp", "hard", 0, 0.8, 0.6) | change)


def test_diverged_run_needs_no_model(tmp_path):
    metrics = metrics_of("ltp", "soft", 0, 0.8, 0.6)
    write_run(tmp_path, metrics | {"status": "diverged", "reason": "loss is nan at step 7", "metrics": {}})
    assert read_metrics(tmp_path)["reason"] == "loss is nan at step 7"
    assert verify_run(tmp_path) == []


def test_predictions_without_their_labels_are_refused(tmp_path):
    with pytest.raises(LTPError, match="2 labels but 1 predictions"):
        write_predictions(tmp_path, {"test": {"labels": [0, 1], "predictions": [0]}})


def test_flipped_bytes_of_metrics_are_found(run):
    path = run / "metrics.json"
    sound, content = path.read_bytes(), read_metrics(path)
    positions = range(0, len(sound), 7)
    found = 0
    for position in positions:
        flipped = bytearray(sound)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        try:
            # Only a flip that changes nothing that is read (a space for a tab, e for E) may pass.
            assert read_metrics(path) == content
        except LTPError as error:
            assert str(path) in one_line(error)
            found += 1
    assert found > 0.7 * len(positions)


def test_every_cut_of_metrics_is_found(run):
    path = run / "metrics.json"
    sound = path.read_bytes()
    for length in range(0, len(sound) - 1, 37):
        path.write_bytes(sound[:length])
        with pytest.raises(LTPError) as error:
            read_metrics(path)
        assert str(path) in one_line(error.value)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(schema=2), "schema 2, expected 1"),
        (lambda m: m.update(kind="conversion"), "kind 'conversion'"),
        (lambda m: m["metrics"]["test"].update(accuracy=0.99), "fingerprint"),
        (lambda m: m["files"].clear(), "fingerprint"),
        (lambda m: m["timing"].update(train_seconds=1.0), "timing"),
        (lambda m: m.pop("fingerprint"), "fingerprint"),
    ],
)
def test_edited_metrics_are_refused(run, change, said):
    edit(run / "metrics.json", change)
    with pytest.raises(LTPError, match=said) as error:
        read_metrics(run)
    one_line(error.value)
    assert verify_run(run) == [str(error.value)]


def test_sealed_again_with_a_wrong_schema_is_refused(run):
    def forge(metrics):
        del metrics["layers"]
        metrics["fingerprint"] = fingerprint(metrics)

    edit(run / "metrics.json", forge)
    with pytest.raises(LTPError, match="layers"):
        read_metrics(run)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "predictions.json"])
@pytest.mark.parametrize(
    "damage",
    [flip, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.unlink()],
    ids=["flip", "cut", "remove"],
)
def test_damaged_file_is_named(run, name, damage):
    damage(run / name)
    (problem,) = verify_run(run)
    assert str(run / name) in one_line(problem)
    if name == "predictions.json":
        with pytest.raises(LTPError, match=r"predictions\.json"):
            read_predictions(run)


def test_model_card_and_logs_may_change(run):
    (run / "README.md").write_text("mine")
    (run / "train.log").write_text("step 1")
    assert verify_run(run) == []


def test_conversion_is_sealed_the_same_way(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    write_manifest(tmp_path / "conversion.json", "conversion", {"prune_mode": "topk"})
    assert read_manifest(tmp_path / "conversion.json", "conversion")["prune_mode"] == "topk"
    assert verify_run(tmp_path) == []
    (tmp_path / "config.json").write_text("{ }")
    assert "config.json" in one_line(verify_run(tmp_path)[0])
    with pytest.raises(LTPError, match="expected 'run'"):
        read_manifest(tmp_path / "conversion.json", "run")


def test_full_disk_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"old": True})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails as on a full disk
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(LTPError, match="cannot be written") as error:
            write_json(path, ["x" * 100_000])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    one_line(error.value)
    assert json.loads(path.read_text()) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder_is_one_line(tmp_path):
    with pytest.raises(LTPError, match="gone"):
        write_json(tmp_path / "gone/metrics.json", {})
    with pytest.raises(LTPError, match="not finished") as error:
        read_metrics(tmp_path / "a\nb")
    one_line(error.value)


def test_tree_tells_sound_damaged_unfinished_and_outdated(tmp_path, capsys):
    parent = write(tmp_path / "dense/base", metrics_of("dense", "base", 0, 0.85, 1.0)).parent
    link = {"path": str(parent), "fingerprint": read_metrics(parent)["fingerprint"]}
    write(tmp_path / "child", metrics_of("ltp", "soft", 0, 0.8, 0.6) | {"parent": link})
    write(tmp_path / "old", metrics_of("ltp", "soft", 0, 0.8, 0.6) | {"parent": link | {"fingerprint": "0" * 64}})
    write(tmp_path / "damaged", metrics_of("ltp", "hard", 0, 0.8, 0.6))
    flip(tmp_path / "damaged/model.safetensors")
    (tmp_path / "going/checkpoint").mkdir(parents=True)
    (tmp_path / "going/checkpoint/model.safetensors").write_bytes(b"half")

    sound, corrupt = verify_tree(tmp_path)
    assert sorted(path.name for path in sound) == ["base", "child"]
    why = {path.name: one_line(problem) for path, problem in corrupt}
    assert set(why) == {"old", "damaged", "going"}
    assert "earlier" in why["old"] and "sha256" in why["damaged"] and "not finished" in why["going"]

    assert verify_command.run(argparse.Namespace(root=str(tmp_path))) == 1
    shown = capsys.readouterr()
    assert shown.out.count("CORRUPT") == 3 and "2 ok, 3 corrupt" in shown.err
    assert verify_command.run(argparse.Namespace(root=str(parent))) == 0
    with pytest.raises(LTPError, match="not a folder"):
        verify_tree(tmp_path / "nowhere")


@pytest.fixture
def local_study(tmp_path):
    """Data and a base run that say from which local files they were made; returns those: text, vocabulary, weights."""
    text, encoder = tmp_path / "train.csv", tmp_path / "encoder"
    encoder.mkdir()
    text.write_text("text,label\ngood,1\n")
    (encoder / "vocab.txt").write_text("good\n")
    (encoder / "model.safetensors").write_bytes(b"weights")
    data = tmp_path / "results/data"
    data.mkdir(parents=True)
    inputs = {str(path): file_sha256(path) for path in (text, encoder / "vocab.txt")}
    write_json(data / "task.json", {"schema": 1, "files": {}, "inputs": inputs})
    record = {"name": str(encoder), "source": "local", "revision": None, "sha256": weights_sha256(encoder)}
    write(tmp_path / "results/base", metrics_of("dense", "base", 0, 0.85, 1.0) | {"encoder": record})
    return text, encoder / "vocab.txt", encoder / "model.safetensors"


def test_a_source_that_was_changed_since_is_named(local_study, tmp_path):
    results = tmp_path / "results"
    assert [path.name for path in verify_tree(results)[0]] == ["base", "data"]
    for path, name in zip(local_study, ("data", "data", "base"), strict=True):
        before = path.read_bytes()
        path.write_bytes(before + b"more")
        ok, [(directory, why)] = verify_tree(results)
        changed = path if name == "data" else path.parent
        assert directory == results / name and ok != [] and directory not in ok
        assert one_line(why).startswith(f"{changed}: ") and "changed since" in why and str(results / name) in why
        assert verify_run(directory) == []  # it can be used: only what it was made from is another
        path.write_bytes(before)
    local_study[2].unlink()  # half a checkpoint is not what it was
    assert len(verify_tree(results)[1]) == 1
    for path in local_study[:2]:
        path.unlink()
    local_study[0].parent.joinpath("encoder").rmdir()
    assert verify_tree(results)[1] == []  # what is not there, as on another machine, cannot be compared


def test_reading_results_needs_no_torch():
    modules = "ltp.results.verify, ltp.analysis.tables, ltp.report.plots, ltp.analysis.bootstrap"
    heavy = "{'torch', 'transformers', 'datasets', 'pandas'}"
    code = f"import sys, {modules}; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
