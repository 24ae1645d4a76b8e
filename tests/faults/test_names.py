"""Names and text that a shell, a path or a page could take for something else go through a whole study as they are."""

from __future__ import annotations

import csv

import pandas as pd
import pytest
import yaml

from faults import study

NASTY = 'it\'s "so" $(touch hacked) `touch hacked`; touch hacked & | é'
LABELS = ["<script>alert(1)</script>", "$(touch hacked); 'no'"]


@pytest.mark.slow
def test_a_study_of_nasty_names_runs_through(material, warm, tmp_path):
    encoder = tmp_path / NASTY / "encoder"
    encoder.parent.mkdir()
    encoder.symlink_to(material.encoder)
    text = tmp_path / NASTY / "te xt"
    text.mkdir()
    column, label = "the text; $(touch hacked)", "what's `this`?"
    for name in ("train", "dev"):
        rows = pd.read_csv(material.text / f"{name}.tsv", sep="\t")
        rows["sentence"] = [f"{line} <script>alert(2)</script>" for line in rows["sentence"]]
        rows["label"] = [LABELS[number] for number in rows["label"]]
        rows.columns = [column, label]
        rows.to_csv(text / f"{name}.csv", index=False)
    grid = study.grid_of(encoder, text, results_dir=f"a/../re sults {NASTY.replace('/', '')}")
    grid["tasks"] = {
        "my.task-1": {
            "source": "local", "path": f"{text}/../te xt", "text_columns": [column], "label_column": label,
            "labels": LABELS, "metrics": ["accuracy"],
        }
    }  # fmt: skip
    folder = study.checkout(tmp_path / "co py", grid)
    study.run(folder, warm, "all")
    assert not list(tmp_path.rglob("hacked"))
    results = folder / yaml.safe_load((folder / "config/grid.yaml").read_text())["results_dir"].removeprefix("a/../")
    with open(results / "runs.csv", encoding="utf-8", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["complete"] * 3
    page = (results / "index.html").read_text(encoding="utf-8")
    assert "<script>alert(" not in page


NAMES = [
    "..", "../up", "a/b", "/tmp/x", "~", "-rf", "a b", "it's", '"', "$(reboot)", "`id`", "a;b", "a&b", "a|b", "a\nb",
    "a\tb", "a\0b", "{x}", "<x>", "", " ", "x" * 65, "logs", "plots", "*", "?",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_task_name_that_is_no_plain_folder_is_refused(material, name):
    from ltp.common.errors import LTPError
    from ltp.grid.grid import Grid

    grid = study.grid_of(material.encoder, material.text)
    grid["tasks"] = {name: grid["tasks"]["sst2"] | {"text_columns": ["sentence"]}}
    with pytest.raises(LTPError) as caught:
        Grid(grid)
    assert str(caught.value).startswith("tasks") and str(caught.value).isprintable()


def test_a_pickle_is_never_read(finished, monkeypatch, capfd):
    """A model of which only a pickle is there; it would leave a file behind if it were read."""
    import os
    import pickle

    from faults.test_damage import refused

    class Trap:
        def __reduce__(self):
            return os.system, ("touch hacked",)

    monkeypatch.chdir(finished)
    run = finished / study.RUNS["base"]
    (run / "metrics.json").unlink()
    (run / "model.safetensors").unlink()
    (run / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    line = refused(capfd, "evaluate", str(run), f"--data={study.RUNS['data']}")
    assert "pytorch_model.bin is a pickle, which is not read" in line
    assert not (finished / "hacked").exists()
