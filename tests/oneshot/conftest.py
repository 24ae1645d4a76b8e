"""One pruned classifier for many tests, made by the command line."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest
from helpers.one_call import save_classifier, some_texts

MINUTES = "0.2"


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """The folder of a small classifier."""
    return save_classifier(tmp_path_factory.mktemp("classifier") / "small")


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """A CSV of 300 texts with labels."""
    path = tmp_path_factory.mktemp("text") / "texts.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "topic"])
        writer.writerows((text, ("bad", "good")[number % 2]) for number, text in enumerate(some_texts(300)))
    return path


@pytest.fixture(scope="session")
def pruned(classifier, text_file, tmp_path_factory):
    """``folder``, ``screen`` and ``progress`` of `ltp prune` on them."""
    import contextlib
    import io

    from ltp.cli.main import main

    folder, out, err = tmp_path_factory.mktemp("pruned") / "out", io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(
            ["prune", str(classifier), f"--text={text_file}", "--label-column=topic", f"--output={folder}",
             f"--minutes={MINUTES}"]
        )  # fmt: skip
    assert status == 0, err.getvalue()
    return SimpleNamespace(folder=folder, screen=out.getvalue(), progress=err.getvalue())
