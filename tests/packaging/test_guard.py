"""A foreign package called `envs` is told apart before anything of it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def import_edge_rllib(*first_on_path: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(folder) for folder in (*first_on_path, ROOT))
    return subprocess.run(
        [sys.executable, "-c", "import edge_rllib"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        cwd=first_on_path[0] if first_on_path else ROOT,
    )


def test_own_envs_is_accepted() -> None:
    result = import_edge_rllib()

    assert result.returncode == 0, result.stderr


def test_foreign_envs_is_refused_with_its_place_and_the_remedy(tmp_path: Path) -> None:
    foreign = tmp_path / "envs" / "__init__.py"
    foreign.parent.mkdir()
    foreign.write_text("def env(name): ...\n", encoding="utf-8")

    result = import_edge_rllib(tmp_path)

    assert result.returncode != 0
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: edge_rllib: the package 'envs' at ")
    assert str(foreign) in last_line
    assert "pip uninstall envs" in last_line


def test_marker_must_be_true_and_not_merely_present(tmp_path: Path) -> None:
    # a package whose attributes all exist (a mock, a lazy module) is foreign all the same
    foreign = tmp_path / "envs" / "__init__.py"
    foreign.parent.mkdir()
    foreign.write_text("def __getattr__(name): return name\n", encoding="utf-8")

    assert "belongs to another distribution" in import_edge_rllib(tmp_path).stderr
