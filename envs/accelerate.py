"""The only module that knows numba's options.

Compiled kernels are cached on disk, in a folder named after a hash of the kernels' sources: numba's own cache looks
only at the file of the function itself and would keep a stale caller when a helper in another file changes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_SWITCHES = ("NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT")


def _cache_folder() -> Path:
    """Return the folder of compiled kernels for these sources, this numba and these debugging switches."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for switch in _SWITCHES:
        digest.update(f"{switch}={os.environ.get(switch, '')}".encode())
    root = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return root / "edge_rllib" / "kernels" / digest.hexdigest()[:16]


if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(_cache_folder())


# Kernels own no memory: they read and write arrays that outlive the call. Without numba's reference counting (two
# atomic instructions for each mention of an array, in records of sixty) they run forty times faster; a kernel that
# tried to allocate would fail to compile.
_OPTIONS = {"error_model": "numpy", "fastmath": False, "_nrt": False}


def kernel(function: Function) -> Function:
    """Compile a function to serial machine code without the interpreter; it may not allocate. Cached on disk."""
    compiled: Function = numba.njit(cache=True, **_OPTIONS)(function)
    return compiled


def inlined(function: Function) -> Function:
    """Compile a small helper into each kernel that calls it."""
    compiled: Function = numba.njit(inline="always", **_OPTIONS)(function)
    return compiled
