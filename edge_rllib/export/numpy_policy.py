"""An exported policy on a machine that has NumPy and nothing else, such as a small device.

``pip install numpy`` and ``pip install --no-deps edge-rllib`` are enough for it.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from edge_rllib.export.errors import PolicyError
from edge_rllib.export.manifest import ARRAYS, Manifest, check_file, read
from edge_rllib.export.policy import ExportedPolicy

RUNTIME = "numpy"


def load(folder: str | Path) -> ExportedPolicy:
    """Return the policy of a folder that `edge-rllib export` made; raise PolicyError if it is none, or damaged."""
    return of_manifest(Path(folder), read(Path(folder)))


def of_manifest(folder: Path, manifest: Manifest) -> ExportedPolicy:
    """Return the policy of a folder whose manifest was read."""
    if not manifest.has_numpy:
        raise PolicyError(
            f"{folder} has no {ARRAYS}: only ONNX was exported; use onnxruntime, or export with --format numpy"
        )
    data = check_file(folder, manifest, ARRAYS)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        programs = manifest.programs(dict(arrays), folder)
    return ExportedPolicy(manifest, programs, RUNTIME)
