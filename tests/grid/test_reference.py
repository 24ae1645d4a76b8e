"""config/README.md is what the schema says."""

import subprocess
import sys
from pathlib import Path

from ltp.grid.reference import render_reference
from ltp.grid.schema import GRID_SCHEMA

ROOT = Path(__file__).parents[2]
COMMAND = "python -m ltp.grid.reference > config/README.md"


def test_the_committed_reference_is_what_the_command_prints():
    command = [sys.executable, *COMMAND.split(" > ")[0].split()[1:]]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "config/README.md").read_text(encoding="utf-8") == printed, f"run `{COMMAND}`"


def test_it_names_every_grid_and_every_key():
    text = render_reference(ROOT / "config")
    assert all(f"| `{path.name}` | " in text for path in (ROOT / "config").glob("*.yaml"))
    for section, schema in GRID_SCHEMA["properties"].items():
        for key in schema.get("properties", {section: None}):
            assert f"| `{key}` | " in text, (section, key)
    assert "| `lambdas` | a list; each a number, at least 0 | `[0.03, 0.1, 0.2]` | " in text
