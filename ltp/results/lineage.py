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


class Lineage:
    """What runs and conversions were made from. Remembers what it has read, for many runs have the same parents."""

    def __init__(self) -> None:
        self._records: dict[Path, dict[str, Any]] = {}
        self._found: dict[Path, Path | None] = {}

    def made_anew(self, directory: Path) -> Path | None:
        """What a run or conversion was made from, at any remove, that is another by now; None where all is as it was.

        What is not there any more cannot be compared.
        """
        if directory not in self._found:
            changed = (self._changed(directory, self._record(directory).get(key)) for key in ("parent", "teacher"))
            self._found[directory] = next(filter(None, changed), None)
        return self._found[directory]

    def _changed(self, directory: Path, source: Any) -> Path | None:
        """``source`` as a run in ``directory`` recorded it, or what that was made from, if it is another by now."""
        if not isinstance(source, dict) or not isinstance(source.get("path"), str):
            return None
        other = None
        for place in _places(directory, Path(source["path"])):
            fingerprint = self._record(place).get("fingerprint")
            if fingerprint and fingerprint == source.get("fingerprint"):
                return self.made_anew(place)
            other = other or (place if fingerprint else None)
        return other

    def _record(self, directory: Path) -> dict[str, Any]:
        if directory not in self._records:
            self._records[directory] = read_record(directory)
        return self._records[directory]


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
