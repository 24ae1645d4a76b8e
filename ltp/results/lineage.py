"""Whether what a run was made from is still what stands there: its parent, its teacher, and theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltp.results.manifest import MANIFESTS


def read_record(directory: Path) -> dict[str, Any]:
    """The manifest of a run or conversion, unchecked; empty where there is none that can be read."""
    for name in MANIFESTS:
        try:
            record: dict[str, Any] = json.loads((directory / name).read_bytes())
            return record if isinstance(record, dict) else {}
        except (OSError, ValueError):
            continue
    return {}


def made_anew(directory: Path) -> Path | None:
    """What a run or conversion was made from, at any remove, that is another by now; None where all is as it was.

    What is not there any more cannot be compared.
    """
    record = read_record(directory)
    for key in ("parent", "teacher"):
        source = record.get(key)
        if not isinstance(source, dict) or not isinstance(source.get("path"), str):
            continue
        places = {place: read_record(place).get("fingerprint") for place in _places(directory, Path(source["path"]))}
        there = [place for place, fingerprint in places.items() if fingerprint]
        same = [place for place in there if places[place] == source.get("fingerprint")]
        if there and not same:
            return there[0]
        if same and (earlier := made_anew(same[0])):
            return earlier
    return None


def _places(directory: Path, path: Path) -> Iterator[Path]:
    """Where ``path``, as a run in ``directory`` was told it, may be now: looked up from here, and from the run.

    Paths of a study are relative to the folder that it was started in, which need not be this one.
    """
    yield path
    if path.is_absolute():
        return
    for ancestor in directory.absolute().parents:
        for start in range(len(path.parts) - 1):  # of a single name, such as `soft`, there are many
            if (place := ancestor.joinpath(*path.parts[start:])).is_dir():
                yield place
                return
