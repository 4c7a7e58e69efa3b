"""An exported policy run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_rllib.export.errors import PolicyError
from edge_rllib.export.manifest import Manifest, check_file, read
from edge_rllib.export.policy import ExportedPolicy
from edge_rllib.export.program import Array

RUNTIME = "onnxruntime"
_ERRORS_ONLY = 3  # onnxruntime's level of messages


def load(folder: str | Path) -> ExportedPolicy:
    """Return the policy of a folder that `edge-rllib export` made; raise PolicyError if it is none, or damaged."""
    return of_manifest(Path(folder), read(Path(folder)))


def of_manifest(folder: Path, manifest: Manifest) -> ExportedPolicy:
    """Return the policy of a folder whose manifest was read."""
    if not manifest.has_onnx:
        raise PolicyError(f"{folder} has no ONNX graph: only arrays for NumPy were exported; use numpy_policy.load")
    networks = [_Session(check_file(folder, manifest, group.onnx), folder / group.onnx) for group in manifest.groups]
    return ExportedPolicy(manifest, networks, RUNTIME)


class _Session:
    """One graph."""

    def __init__(self, model: bytes, path: Path) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # products of some rows gain nothing from threads
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common base of its errors
            reason = str(error).partition("\n")[0]
            raise PolicyError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: {reason}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name."""
        return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))
