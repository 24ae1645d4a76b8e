"""Writes config/README.md: ``python -m ltp.grid.reference > config/README.md``, from the project's root."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ltp.common.names import STAGES
from ltp.grid.schema import GRID_SCHEMA, SECTIONS
from ltp.grid.validation import allowed

HEAD = """\
# Grids

<!-- Written by `python -m ltp.grid.reference > config/README.md`; edit ltp/grid/reference.py or ltp/settings/. -->

A grid is one YAML file that says what a study trains. `snakemake --cores N` runs `config/grid.yaml`,
`snakemake --cores N --configfile FILE` another one, and `ltp plan --configfile FILE` says beforehand how many runs and
hours it takes. A grid is checked before anything runs: an unknown key or a value out of bounds is refused in one line.

| file | study |
|---|---|
"""

KEYS = """
## Keys

Only `tasks` is required; a key that is left out has the default given here. Where null is the default, its meaning is
described after "unset". The sections `training`, `base`, `soft`, `hard` and `data` hold for all tasks; a task may have
its own values for any key of them, in the same nesting (`tasks: {imdb: {data: {max_length: 192}}}`). Write numbers as
`1.0e-5`; `1e-5`, which YAML reads as text, is accepted too.
"""


def render_reference(config: Path) -> str:
    """config/README.md as Markdown: the grids in the folder ``config``, and every key of the schema."""
    files = [f"| `{path.name}` | {_first_sentence(path)} |" for path in sorted(config.glob("*.yaml"))]
    study = {key: item for key, item in GRID_SCHEMA["properties"].items() if key not in (*SECTIONS, "model")}
    model = GRID_SCHEMA["properties"]["model"]
    task = GRID_SCHEMA["properties"]["tasks"]["additionalProperties"]
    own = {key: item for key, item in task["properties"].items() if key not in SECTIONS}
    parts = [
        _table("The study", "keys at the top level", study),
        _table("`model`", model["description"], model["properties"]),
        _table("`tasks.NAME`", f"{task['description']}; NAME is one that ltp knows or your own", own),
    ]
    shared = GRID_SCHEMA["properties"]["training"]["properties"]
    for name in SECTIONS:
        section = GRID_SCHEMA["properties"][name]
        own = {key: item for key, item in section["properties"].items() if name not in STAGES or key not in shared}
        also = ". Also takes the keys of `training`" if name in STAGES else ""
        parts.append(_table(f"`{name}`", section["description"] + also, own))
    return HEAD + "\n".join(files) + "\n" + KEYS + "".join(parts)


def _first_sentence(path: Path) -> str:
    """The first sentence of the comment that a grid starts with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    text = " ".join(line.removeprefix("#").strip() for line in lines[:end])
    return text.split(". ")[0].removesuffix(".")


def _table(title: str, description: str, properties: dict[str, Any]) -> str:
    rows = [
        f"| `{key}` | {_allowed(item)} | {_default(item)} | {item['description']} |"
        for key, item in _flattened(properties)
    ]
    head = f"\n### {title}\n\n{description[0].upper()}{description[1:]}.\n\n| key | value | default | meaning |\n"
    return head + "|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _allowed(item: dict[str, Any]) -> str:
    return allowed(item) + (f"; each {allowed(item['items'])}" if "items" in item else "")


def _flattened(properties: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key with its schema; keys of a nested mapping follow it as ``topk.keep_rates``."""
    for key, item in properties.items():
        yield f"{above}{key}", item
        yield from _flattened(item.get("properties", {}), f"{above}{key}.")


def _default(item: dict[str, Any]) -> str:
    return f"`{json.dumps(item['default'])}`" if "default" in item else ""


if __name__ == "__main__":
    print(render_reference(Path("config")), end="")
