"""Where things are, and the numbers that the others share."""

import os
import pathlib
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "mutation"
RESULTS = WORK / "results"
TABLE = ROOT / "docs/MUTANTS.md"
SETTINGS = ROOT / "docs/mutants.toml"
WHICH = ROOT / ".cargo/mutants.toml"

STAGES = ["tests", "schedules", "models"]


def settings():
    return tomllib.loads(SETTINGS.read_text())


def write(path, content):
    """Writes a file, unless it says so already: what has not changed is not built again."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
