"""What an import loads: a start stays quick because nothing heavy is loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("ray", "torch", "numba", "matplotlib", "pandas", "networkx", "gymnasium", "pettingzoo", "scipy", "tensorboard")


def loaded_by(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after running the code."""
    report = f"import sys; print(); print(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code", ["import envs", "import edge_rllib", "from edge_rllib import make", "from envs import register"]
)
def test_import_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code) == set()


@pytest.mark.parametrize("kind", ["", "'scenario'", "'algorithm'"])
def test_list_command_loads_neither_ray_nor_torch(kind: str) -> None:
    assert loaded_by(f"from edge_rllib.cli.main import main; main(['list', {kind}])") & {"ray", "torch"} == set()


def test_making_a_world_loads_neither_ray_nor_torch() -> None:
    code = "from edge_rllib import make, config; make(config.paths.config_names('scenario')[0], n_worlds=1)"

    assert loaded_by(f"import edge_rllib.config.paths\n{code}") & {"ray", "torch"} == set()


def test_check_would_see_a_heavy_import() -> None:
    assert loaded_by("import numba") >= {"numba"}
