"""The benchmark's table, its checks and its figures, on a tiny model; how fast anything is, no test says."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.extras import HAS_ONNX

from ltp.benchmark import backends, comparison
from ltp.benchmark import plots as speed_plots
from ltp.benchmark import table as speed
from ltp.benchmark.backends import BACKENDS, MaskedOnly
from ltp.benchmark.markdown import markdown
from ltp.benchmark.runner import Settings, benchmark
from ltp.cli.main import main
from ltp.common.errors import LTPError
from ltp.common.machine import commit, processor_name
from ltp.models.layouts.registry import LAYOUTS
from ltp.models.prepacked_linear import has_bfloat16

# What can run here; the compiled backend takes a minute to compile.
NEEDED = {"onnx": HAS_ONNX, "exporter": HAS_ONNX, "openvino": importlib.util.find_spec("openvino"),
          "nncf": importlib.util.find_spec("nncf"), "bfloat16": has_bfloat16(), "compiler": False,
          "bert_blocks": True}  # fmt: skip
RUNNABLE = [item.name for item in BACKENDS if all(NEEDED[name] for name in item.needs)]


@pytest.fixture(scope="module")
def table(tiny_study, tmp_path_factory):
    """A benchmark of all backends that can run here."""
    path = tmp_path_factory.mktemp("speed") / "speed.csv"
    settings = Settings(batch_sizes=(1, 4), sentences=6, repeats=2, lengths=(6, 12), only=RUNNABLE)
    return path, benchmark([str(tiny_study.converted)], [tiny_study.data], path, settings)


def test_a_row_for_each_backend_text_and_batch_size(table):
    path, rows = table
    names = {row["backend"] for row in rows}
    assert names == set(RUNNABLE)
    padded = 2
    assert len(rows) == 2 * (3 * len(names) - 2 * padded)  # text cut to one length needs no padding
    with path.open(encoding="utf-8", newline="") as stream:
        written = list(csv.DictReader(stream))
    assert list(written[0]) == list(speed.COLUMNS) and len(written) == len(rows)
    for row in written:
        assert float(row["min_ms"]) <= float(row["median_ms"]) <= float(row["max_ms"])
        assert row["backend"] != "hf-dynamic" or float(row["speedup"]) == 1.0
        assert row["mean_tokens"] == row["max_length"] or row["cut"] == "false"


def test_each_row_says_where_when_and_with_what_it_was_measured(table):
    """So that a committed table carries its origin."""
    with table[0].open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            assert row["machine"] == processor_name() and row["commit"] == (commit() or "")
            assert int(row["threads"]) == torch.get_num_threads()
            age = datetime.now(UTC).date() - date.fromisoformat(row["date"])
            assert age.days in (0, 1)


@pytest.mark.parametrize(
    ("same", "count", "refused"),
    [(100, 100, False), (98, 100, False), (97, 100, True), (47, 48, False), (46, 48, True)],
)
def test_the_share_of_equal_answers_below_which_a_table_is_refused(same, count, refused):
    """The same as docs/speed.md says."""
    (hf_sorted,) = (item for item in BACKENDS if item.name == "hf-sorted")
    theirs = np.tile([1.0, 0.0], (count, 1))
    ours = np.concatenate([theirs[:same], theirs[same:, ::-1]])
    logits = {("hf-dynamic", "dense"): theirs, ("hf-sorted", "dense"): ours}
    if refused:
        with pytest.raises(LTPError, match=rf"for only {same} of {count} sentences; expected all but [12] at most"):
            comparison._agreement(hf_sorted, "dense", logits, exact=True)
    else:
        assert comparison._agreement(hf_sorted, "dense", logits, exact=True)[0] == same / count
    assert comparison._agreement(hf_sorted, "dense", logits, exact=False)[0] == same / count
    text = " ".join((Path(__file__).parents[2] / "docs/speed.md").read_text(encoding="utf-8").split())
    assert f"fewer than {100 - 100 * comparison.MAX_DIFFERENT:.0f} %" in text


def test_those_that_should_agree_do(table):
    exact = {item.name for item in BACKENDS if item.exact}
    for row in table[1]:
        if row["backend"] in exact:
            assert row["agreement"] == 1.0 and row["largest_difference"] < 1e-4
        assert 0 <= row["agreement"] <= 1


def test_pruning_is_measured_against_the_same_engine(table):
    rows = {row["backend"]: row for row in table[1] if row["batch"] == 1 and not row["cut"]}
    pairs = {"hf-masked": "hf-padded", "ltp": "ltp-dense", "ltp-bf16": "ltp-dense-bf16", "ltp-onnx": "onnx",
             "ltp-onnx-int8": "onnx-int8"}  # fmt: skip
    for name, unpruned in pairs.items():
        if name in rows:
            row = rows[name]
            assert row["unpruned"] == unpruned and row["flops_reduction"] > 1.05
            expected = row["speedup_over_unpruned"] / row["flops_reduction"]
            assert row["share_of_reduction"] == pytest.approx(expected)
    assert rows["ltp-dense"]["unpruned"] == "" and rows["ltp-dense"]["flops_reduction"] == 1.0


def test_onnx_backends_take_part(table):
    if not HAS_ONNX:
        pytest.skip("the extra `onnx` is not installed")
    assert {"onnx", "onnx-int8", "ltp-onnx", "ltp-onnx-int8"} <= {row["backend"] for row in table[1]}


def test_number_formats(table):
    found = {row["backend"]: row["weights"] for row in table[1]}
    expected = {"hf-dynamic": "float32", "ltp": "float32", "hf-bf16": "bfloat16", "ltp-bf16": "bfloat16",
                "onnx": "float32", "ltp-onnx-int8": "int8", "openvino-bf16": "bfloat16"}  # fmt: skip
    for name, weights in expected.items():
        assert found.get(name, weights) == weights


def test_bfloat16_leaves_the_other_backends_weights_alone(tiny_study, tmp_path):
    if not has_bfloat16():
        pytest.skip("the processor has no bfloat16")
    settings = Settings(batch_sizes=(2,), sentences=4, repeats=1, only=["ltp-bf16", "ltp-dense-bf16", "hf-bf16"])
    rows = benchmark([str(tiny_study.converted)], [tiny_study.data], tmp_path / "speed.csv", settings)
    difference = {row["backend"]: row["largest_difference"] for row in rows}
    assert list(difference) == ["hf-dynamic", "hf-bf16", "ltp", "ltp-dense-bf16", "ltp-bf16"]
    assert difference["hf-dynamic"] == difference["ltp"] == 0.0
    assert all(0 < difference[name] < 0.1 for name in ("hf-bf16", "ltp-dense-bf16", "ltp-bf16"))


def test_a_processor_without_bfloat16_leaves_those_backends_out(tiny_study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "has_bfloat16", lambda: False)
    settings = Settings(batch_sizes=(1,), sentences=4, repeats=1, only=["hf-bf16"])
    rows = benchmark([str(tiny_study.converted)], [tiny_study.data], tmp_path / "speed.csv", settings)
    assert [row["backend"] for row in rows] == ["hf-dynamic", "ltp"]
    assert "hf-bf16: left out: the processor has no bfloat16 in hardware" in capsys.readouterr().err


def test_openvino_is_named_where_it_is_missing(tiny_study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    settings = Settings(batch_sizes=(1,), sentences=4, repeats=1, only=["openvino"])
    assert len(benchmark([str(tiny_study.converted)], [tiny_study.data], tmp_path / "speed.csv", settings)) == 2
    assert "openvino: left out: " in capsys.readouterr().err


def test_the_markdown_table_has_the_figures_of_the_csv(table):
    lines = markdown(table[0]).splitlines()
    assert lines[0].split(" | ")[1:-1] == [
        f"converted, sst2, {length} tokens, batch {size}"
        for length in (f"{table[1][0]['mean_tokens']:.0f}", 6, 12) for size in (1, 4)
    ]  # fmt: skip
    cells = {line.split(" | ")[0].lstrip("| "): line.split(" | ")[1:] for line in lines[2:] if line.startswith("|")}
    rows = [row for row in table[1] if row["backend"] == "ltp"]
    found = [f"{row['speedup']:.2f} ({row['speedup_over_unpruned']:.2f})" for row in rows]
    assert cells["packed, pruned"] == [*found, "100.0 % |"]
    assert len(cells) == len({row["backend"] for row in table[1]}) and cells["Hugging Face, padded"][2:6] == [""] * 4
    assert processor_name() in lines[-1] and f"{100 / rows[0]['flops_reduction']:.0f} %" in lines[-1]


def test_the_table_is_shown_and_drawn(table):
    shown = speed.show(table[0])
    assert "packed, pruned" in shown and shown.count("ms a batch") == 6
    names = {path.name for path in speed_plots.write_speed_plots(table[0])}
    stems = ["speed-vs-flops", "speed-latency-converted-sst2-24", "speed-batch-converted-sst2-24",
             "speed-length-converted-sst2-batch1", "speed-length-converted-sst2-batch4"]  # fmt: skip
    assert names == {stem + kind for stem in stems for kind in (".png", ".svg")}


def test_a_backend_that_answers_otherwise_voids_the_table(tiny_study, tmp_path, monkeypatch):
    def reversed_classes(inputs):
        run = backends._hugging_face(inputs)
        return lambda batch: run(batch)[:, ::-1]

    wrong = [
        dataclasses.replace(item, make=reversed_classes) if item.name == "hf-sorted" else item for item in BACKENDS
    ]
    monkeypatch.setattr(comparison, "BACKENDS", wrong)
    settings = Settings(sentences=6, repeats=1, only=["hf-sorted"])
    with pytest.raises(LTPError, match=r"hf-sorted: has its reference's answer for only 0 of 6 sentences"):
        benchmark([str(tiny_study.converted)], [tiny_study.data], tmp_path / "speed.csv", settings)
    assert not (tmp_path / "speed.csv").exists()


def test_what_cannot_run_is_left_out_and_named(tiny_study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison.shutil, "which", lambda name: None)
    settings = Settings(batch_sizes=(1,), sentences=4, repeats=1, only=["hf-compiled"])
    rows = benchmark([str(tiny_study.converted)], [tiny_study.data], tmp_path / "speed.csv", settings)
    assert [row["backend"] for row in rows] == ["hf-dynamic", "ltp"]
    assert "hf-compiled: left out: torch.compile needs a C++ compiler" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [kind for kind in tiny.KINDS if LAYOUTS[kind].has_bert_blocks])
@pytest.mark.parametrize("mode", [*tiny.PRUNING, "contribution", "saliency"])
def test_masks_alone_give_the_answers_of_removal(kind, mode):
    model = tiny.pruning_model(kind, mode) if mode in tiny.PRUNING else tiny.scored_model(kind, mode)
    eager = tiny.base_model(kind).double()
    eager.set_attn_implementation("eager")
    batch = tiny.batch(tiny.sentences([13, 4, 9, 2, 7]), extra=3)
    with torch.no_grad():
        found, expected = MaskedOnly(model, eager)(**batch).logits, model(**batch)
    torch.testing.assert_close(found, expected.logits)
    assert expected.ffn_tokens[:, -1].sum() < batch["attention_mask"].sum()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"flops": 1.5}, "flops: 1.5 is not between 0 and 1"),
        ({"only": ["tpu"]}, "only: tpu is none of hf-bf16, hf-compiled"),
        ({"batch_sizes": (0,)}, "batch_sizes: .0. has a value that is too small"),
        ({"repeats": 0}, "sentences, repeats: 64 and 0; expected at least 1"),
    ],
)
def test_settings_are_checked(options, expected):
    with pytest.raises(LTPError, match=expected):
        Settings(**options)


def test_a_model_that_does_not_prune_is_refused(tiny_study, tmp_path):
    with pytest.raises(LTPError, match="does not prune; give a run that does, or one of bert-base, roberta-base"):
        benchmark([str(tiny_study.base)], [tiny_study.data], tmp_path / "speed.csv", Settings())


def test_a_length_beyond_the_model_is_refused_before_anything_is_timed(tiny_study, tmp_path):
    with pytest.raises(LTPError, match=r"lengths: 600 is more than the \d+ tokens that"):
        benchmark([str(tiny_study.converted)], [tiny_study.data], tmp_path / "s.csv", Settings(lengths=(8, 600)))


def test_runs_of_one_encoder_are_told_apart_in_every_table(tiny_study, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(tiny_study.converted, tmp_path / "owner" / name)
    settings = Settings(batch_sizes=(1,), sentences=3, repeats=1, only=("ltp",))
    runs = [str(tmp_path / "owner" / name) for name in ("one", "two")]
    rows = benchmark(runs, [tiny_study.data], tmp_path / "speed.csv", settings)
    assert {row["model"] for row in rows} == {"one", "two"}
    elsewhere = tmp_path / "other/one"
    shutil.copytree(tiny_study.converted, elsewhere)
    rows = benchmark([runs[0], str(elsewhere)], [tiny_study.data], tmp_path / "speed.csv", settings)
    assert {row["model"] for row in rows} == {"one (owner/one)", "one (other/one)"}
    shown = markdown(tmp_path / "speed.csv")
    assert "one (owner/one)" in shown and "one (other/one)" in shown
    drawn = speed_plots.write_speed_plots(tmp_path / "speed.csv")
    assert any("one (owner-one)" in path.name for path in drawn) and all(path.is_file() for path in drawn)


def test_another_architecture_is_no_base(tiny_study, tmp_path):
    tiny.base_model("roberta").save_pretrained(tmp_path / "roberta")
    with pytest.raises(LTPError, match=r"roberta is a roberta, .*converted is not"):
        benchmark([str(tiny_study.converted)], [tiny_study.data], tmp_path / "s.csv", Settings(), tmp_path / "roberta")


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "--data", "d", "--study", "results"]])
def test_either_models_and_text_or_a_study(arguments, capsys):
    assert main(["benchmark", *arguments]) != 0
    assert "give either MODEL and --data, or --study" in capsys.readouterr().err


def test_a_damaged_table_of_times_names_what_makes_it_again(tmp_path):
    (tmp_path / "speed.csv").write_text("backend\n")
    with pytest.raises(LTPError, match=r"lacks column title .*make it again with `ltp benchmark`"):
        speed.show(tmp_path / "speed.csv")
