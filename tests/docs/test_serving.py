"""Every recipe of docs/serving.md runs as it stands there, on a small pruned reranker and classifier."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.one_call import save_classifier, some_pairs, some_texts

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"^## (?P<title>.+?)$(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "transformers": (), "ONNX Runtime": ("onnxruntime",), "CrossEncoder": ("onnxruntime", "sentence_transformers"),
    "OpenVINO": ("openvino",),
}  # fmt: skip


def recipes():
    """Each section's Python, by its title."""
    page = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    return {part["title"]: code[1] for part in SECTION.finditer(page) if (code := CODE.search(part["text"]))}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with ``pruned`` and ``served``, for a classifier and for a reranker."""
    import ltp
    from ltp.export.export import export

    found = {}
    for kind, labels in (("classifier", 2), ("reranker", 1)):
        folder = found[kind] = tmp_path_factory.mktemp(kind)
        save_classifier(folder / "original", labels=labels)
        texts = some_texts(220) if kind == "classifier" else some_pairs(22, 10)
        ltp.prune(str(folder / "original"), None, texts, output=folder / "pruned", minutes=0.1)
        if importlib.util.find_spec("onnxruntime"):
            export(folder / "pruned", folder / "served", onnx=True)
    return found


def test_the_page_has_all_recipes():
    assert list(recipes()) == list(NEEDS)


@pytest.mark.parametrize("title", NEEDS)
def test_a_recipe_runs_as_it_stands(folders, title):
    for package in NEEDS[title]:
        pytest.importorskip(package, reason=f"the recipe for {title} needs {package}")
    folder = folders["reranker" if title == "CrossEncoder" else "classifier"]
    done = subprocess.run([sys.executable, "-c", recipes()[title]], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.strip().splitlines()
    assert len(shown) == (3 if title == "CrossEncoder" else 1)
    if title in ("transformers", "ONNX Runtime"):
        assert set(re.findall(r"'(\w+)'", shown[0])) <= {"good", "bad"}


def test_the_recipes_agree(folders):
    """The classes by ONNX Runtime are those of the pipeline."""
    pytest.importorskip("onnxruntime")
    answers = {}
    for title in ("transformers", "ONNX Runtime"):
        code = [sys.executable, "-c", recipes()[title]]
        done = subprocess.run(code, cwd=folders["classifier"], capture_output=True, text=True, check=True)
        answers[title] = done.stdout.strip()
    assert answers["transformers"] == answers["ONNX Runtime"]
