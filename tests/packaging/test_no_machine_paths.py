"""No file names a folder of somebody's machine: such a path works in one place and gives away who wrote it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("envs", "edge_rllib", "tune_configs", "experiments", "tests", "docs", "notebooks", ".ci")
TEXT = {".py", ".yaml", ".yml", ".md", ".toml", ".ipynb", ".lock", ".csv", ""}
MACHINE_PATH = re.compile(r"(?<![\w.:/}~-])/(?:home|root|Users|opt|srv|work|tmp)/\w")


def machine_paths(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if MACHINE_PATH.search(line)]


def test_no_file_names_a_folder_of_one_machine() -> None:
    top = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXT]
    below = [path for place in PLACES for path in (ROOT / place).rglob("*") if path.is_file() and path.suffix in TEXT]
    files = [path for path in [*top, *below] if path != Path(__file__) and "__pycache__" not in path.parts]

    found = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if (lines := machine_paths(path.read_text(encoding="utf-8", errors="replace")))
    }

    assert len(files) > 50
    assert found == {}


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ('open("/home/ada/x.csv")', True),
        ("path: /tmp/run", True),
        ("see https://example.org/home/ada", False),
        ("a ratio a/b and /usr/bin/env", False),
        ("mountPath: /results", False),
    ],
)
def test_pattern_tells_machine_paths_from_others(line: str, is_found: bool) -> None:
    assert bool(machine_paths(line)) is is_found
