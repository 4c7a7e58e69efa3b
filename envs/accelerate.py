"""The only module that knows numba's options.

Compiled kernels are cached on disk, in a folder named after a hash of the kernels' sources: numba's own cache looks
only at the file of the function itself and would keep a stale caller when a helper in another file changes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_SWITCHES = ("NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT")


@cache
def _cache_folder(sources: Path) -> str:
    """Return the folder of compiled kernels for the sources of a family, this numba and these switches.

    A family's kernels may use those of the modules directly in ``envs``, and of no other family.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for folder in (Path(__file__).parent, sources):
        for path in sorted(folder.glob("*.py")):
            text = path.read_bytes()
            if b"kernel" in text:
                digest.update(text)
    for switch in _SWITCHES:
        digest.update(f"{switch}={os.environ.get(switch, '')}".encode())
    root = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return str(root / "edge_rllib" / "kernels" / digest.hexdigest()[:16])


# Kernels own no memory: they read and write arrays that outlive the call. Without numba's reference counting (two
# atomic instructions for each mention of an array, in records of sixty) they run forty times faster; a kernel that
# tried to allocate would fail to compile.
_OPTIONS = {"error_model": "numpy", "fastmath": False, "_nrt": False}


def kernel(function: Function) -> Function:
    """Compile a function to serial machine code without the interpreter; it may not allocate. Cached on disk."""
    if "NUMBA_CACHE_DIR" not in os.environ:
        numba.config.CACHE_DIR = _cache_folder(Path(function.__code__.co_filename).parent)
    compiled: Function = numba.njit(cache=True, **_OPTIONS)(function)
    return compiled


def inlined(function: Function) -> Function:
    """Compile a small helper into each kernel that calls it."""
    compiled: Function = numba.njit(forceinline=True, **_OPTIONS)(function)
    return compiled
