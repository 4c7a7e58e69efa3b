"""What a result was made with: versions, commit, machine, command."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import edge_rllib

PACKAGES = ("ray", "torch", "numpy", "numba", "gymnasium", "networkx")


def versions() -> dict[str, Any]:
    """Return versions of the packages that matter, the commit of the sources, and the machine."""
    import os

    return {
        "edge_rllib": edge_rllib.__version__,
        "commit": commit(Path(edge_rllib.__file__).parent.parent),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "command": sys.argv,
    }


def commit(folder: Path) -> str | None:
    """Return the commit of a checkout, marked where files differ from it; None outside a checkout."""
    if not (folder / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head} with changes" if changes else head


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
