"""Imports point downwards: the contracts in pyproject.toml hold, and they reject what they are there to reject."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_project_keeps_its_layers() -> None:
    result = lint_imports(ROOT)

    assert result.returncode == 0, result.stdout


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """Return a tree of empty packages under the project's own contracts."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    for contract in tomllib.loads(text)["tool"]["importlinter"]["contracts"]:
        layers = [name for layer in contract.get("layers", []) for name in layer.replace("|", ":").split(":")]
        for module in [*layers, *contract.get("source_modules", [])]:
            folder = tmp_path.joinpath(*module.strip(" ()").split("."))
            folder.mkdir(parents=True, exist_ok=True)
            for package in [folder, *folder.parents]:
                if package == tmp_path:
                    break
                (package / "__init__.py").touch()
    return tmp_path


def test_empty_skeleton_passes(skeleton: Path) -> None:
    result = lint_imports(skeleton)

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("envs/fog/bad.py", "ray"),
        ("envs/fog/bad.py", "torch"),
        ("envs/fog/bad.py", "edge_rllib.ops"),
        ("envs/topologies/bad.py", "envs.fog"),
        ("edge_rllib/ops/bad.py", "ray"),
        ("edge_rllib/results/bad.py", "ray"),
        ("edge_rllib/modules/bad.py", "edge_rllib.runners"),
        ("edge_rllib/runners/bad.py", "edge_rllib.algorithms"),
        ("edge_rllib/compat.py", "edge_rllib.cli"),
    ],
)
def test_contracts_reject_an_import_that_points_upwards(skeleton: Path, module: str, imported: str) -> None:
    (skeleton / module).write_text(f"import {imported}\n", encoding="utf-8")
    if module == "edge_rllib/compat.py":
        (skeleton / "edge_rllib/compat/__init__.py").unlink()
        (skeleton / "edge_rllib/compat").rmdir()

    result = lint_imports(skeleton)

    assert result.returncode == 1, result.stdout
    assert "BROKEN" in result.stdout
