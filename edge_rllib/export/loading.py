"""Load an exported policy with onnxruntime where that is installed, else with NumPy."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

from edge_rllib.export import numpy_policy, onnx_policy
from edge_rllib.export.errors import PolicyError
from edge_rllib.export.manifest import MANIFEST, read
from edge_rllib.export.policy import ExportedPolicy

log = logging.getLogger(__name__)

RUNTIMES = ("auto", onnx_policy.RUNTIME, numpy_policy.RUNTIME)


def is_exported(folder: str | Path) -> bool:
    """Return whether a folder looks like an exported policy."""
    return (Path(folder) / MANIFEST).is_file()


def load(folder: str | Path, runtime: str = "auto") -> ExportedPolicy:
    """Return the policy of a folder that `edge-rllib export` made; "auto" takes onnxruntime where it can."""
    if runtime not in RUNTIMES:
        raise PolicyError(f"runtime = {runtime!r}: expected one of {', '.join(RUNTIMES)}")
    folder = Path(folder)
    manifest = read(folder)
    has_runtime = find_spec("onnxruntime") is not None
    if runtime == onnx_policy.RUNTIME and not has_runtime:
        raise PolicyError('onnxruntime is not installed: pip install "edge-rllib[onnx]", or take the runtime numpy')
    if runtime == numpy_policy.RUNTIME or (runtime == "auto" and not manifest.has_onnx):
        return numpy_policy.of_manifest(folder, manifest)
    if has_runtime:
        return onnx_policy.of_manifest(folder, manifest)
    policy = numpy_policy.of_manifest(folder, manifest)
    log.warning("onnxruntime is not installed: %s is run by NumPy, which decides the same", folder)
    return policy
