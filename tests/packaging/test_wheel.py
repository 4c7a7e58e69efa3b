"""The wheel holds both packages and the configuration files, and works where the sources are not."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_both_packages_and_every_configuration_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {
        f"edge_rllib/configs/{path.relative_to(ROOT / 'tune_configs')}" for path in ROOT.glob("tune_configs/**/*.yaml")
    }
    modules = {str(path.relative_to(ROOT)) for top in ("envs", "edge_rllib") for path in (ROOT / top).rglob("*.py")}

    assert len(configs) > 20
    assert configs | modules <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"envs", "edge_rllib"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_installed_wheel_opens_a_world_by_name(wheel: Path, tmp_path: Path) -> None:
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(tmp_path / "site"),
        str(wheel),
        cwd=tmp_path,
    )
    code = (
        "import edge_rllib, envs; from edge_rllib.config.paths import config_names; "
        "world = edge_rllib.make(config_names('scenario')[0], n_worlds=2); "
        "out = world.outcome(); world.reset(None, out); "
        "print(edge_rllib.__file__, out.observation.shape[0])"
    )

    printed = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))

    assert printed.split() == [str(tmp_path / "site" / "edge_rllib" / "__init__.py"), "2"]
