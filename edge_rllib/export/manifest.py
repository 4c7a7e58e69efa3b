"""``policy.json``: what an exported policy is, which files belong to it, and whether they are whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_rllib.export.errors import PolicyError
from edge_rllib.export.program import LOG_PROBS, SCORES, Program, Step
from envs.arrays import F4

MANIFEST, ARRAYS = "policy.json", "policy.npz"
KIND, FORMAT = "edge-rllib policy", 1
SEPARATOR = "/"  # between a group's number and a constant's name in ARRAYS


@dataclass(frozen=True)
class Group:
    """Agents that share a network."""

    name: str  # of the module or group in training
    agents: tuple[int, ...]  # indices into the manifest's agents
    onnx: str  # file of the graph; empty where none was exported
    steps: tuple[Step, ...]  # of the network


@dataclass(frozen=True)
class Manifest:
    """An exported policy without its weights."""

    kind: str  # KIND
    format: int  # FORMAT of the writer
    scenario: str  # that it was trained in
    algorithm: str
    checkpoint: str
    agents: tuple[str, ...]  # N names
    feature_names: tuple[str, ...]  # F names of the observation's columns
    n_targets: int  # K
    has_local: bool  # target 0 is the agent's own node
    amount_names: tuple[str, ...]  # A names
    amount_low: float  # bounds of every amount
    amount_high: float
    memory: int  # H, size of what the policy remembers of a row; 0: nothing
    says: str  # of targets: LOG_PROBS, or SCORES where only their order means something
    rule: str  # how a decision follows from them, in words
    groups: tuple[Group, ...]
    files: dict[str, str]  # SHA-256 by name of file
    parity: dict[str, float]  # largest difference from torch by runtime, measured at export
    versions: dict[str, Any]  # of what the policy was made with

    @property
    def n_features(self) -> int:
        """Return F."""
        return len(self.feature_names)

    @property
    def n_amounts(self) -> int:
        """Return A."""
        return len(self.amount_names)

    @property
    def has_numpy(self) -> bool:
        """Return whether the arrays for NumPy were exported."""
        return ARRAYS in self.files

    @property
    def has_onnx(self) -> bool:
        """Return whether the ONNX graphs were exported."""
        return all(group.onnx for group in self.groups)

    def programs(self, arrays: Mapping[str, F4], folder: Path) -> list[Program]:
        """Return the network of each group; a step that cannot be followed raises PolicyError."""
        programs = []
        for index, group in enumerate(self.groups):
            begin = f"{index}{SEPARATOR}"
            constants = {name[len(begin) :]: array for name, array in arrays.items() if name.startswith(begin)}
            program = Program(group.steps, constants, bool(self.memory))
            program.check(f"{folder / MANIFEST}: group {group.name!r}")
            programs.append(program)
        return programs


def text(manifest: Manifest) -> str:
    """Return a manifest as JSON."""
    return json.dumps(dataclasses.asdict(manifest), indent=1, allow_nan=False) + "\n"


def read(folder: Path) -> Manifest:
    """Return the manifest of an exported policy; raise PolicyError for anything else."""
    path = folder / MANIFEST
    if not path.is_file():
        state = "it has no policy.json" if folder.is_dir() else "there is no such folder"
        raise PolicyError(f"{folder} is not an exported policy: {state}; `edge-rllib export RESULT_DIR` makes one")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path}: cannot be read, it is damaged: {error}") from error
    if not isinstance(tree, dict) or tree.get("kind") != KIND:
        raise PolicyError(f"{path}: expected the description of an {KIND}")
    version = tree.get("format")
    if not isinstance(version, int) or version < 1:
        raise PolicyError(f"{path}: format = {version!r}; expected a whole number from 1 to {FORMAT}")
    if version > FORMAT:
        raise PolicyError(f"{path}: written in format {version}; this edge-rllib reads up to {FORMAT}: update it")
    try:
        return _manifest(tree, path)
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, PolicyError):
            raise
        raise PolicyError(f"{path}: cannot be read, it is damaged: {error}") from error


def check_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Return the bytes of one of a policy's files; raise PolicyError if they are not those that were written."""
    path = folder / name
    if name not in manifest.files:
        raise PolicyError(f"{folder / MANIFEST} knows no file {name}; it has: {', '.join(manifest.files)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror or error}") from error
    if digest(data) != manifest.files[name]:
        raise PolicyError(f"{path} is damaged: its SHA-256 is not that in {MANIFEST}; export or copy it once more")
    return data


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _manifest(tree: dict[str, Any], path: Path) -> Manifest:
    values = _fields(Manifest, tree, str(path))
    values["groups"] = tuple(_group(each, f"{path}: groups") for each in tree["groups"])
    for name in ("agents", "feature_names", "amount_names"):
        values[name] = tuple(str(each) for each in tree[name])
    if values["says"] not in (LOG_PROBS, SCORES):
        raise PolicyError(f"{path}: says = {values['says']!r}; expected {LOG_PROBS} or {SCORES}")
    found = sorted(n for group in values["groups"] for n in group.agents)
    if found != list(range(len(values["agents"]))):
        raise PolicyError(f"{path}: agents {found} have groups; expected each of 0 .. {len(values['agents']) - 1} once")
    return Manifest(**values)


def _group(tree: Any, where: str) -> Group:
    values = _fields(Group, tree, where)
    values["agents"] = tuple(int(n) for n in tree["agents"])
    values["steps"] = tuple(_step(each, f"{where}: steps") for each in tree["steps"])
    return Group(**values)


def _step(tree: Any, where: str) -> Step:
    values = _fields(Step, tree, where)
    return Step(**{**values, "arguments": tuple(tree["arguments"])})


def _fields(record: type, tree: Any, where: str) -> dict[str, Any]:
    """Return the entries of a mapping that has those of a record, and no other."""
    names = [field.name for field in dataclasses.fields(record)]
    if not isinstance(tree, dict):
        raise PolicyError(f"{where}: expected entries by name, got {type(tree).__name__}")
    for name in [*names, *tree]:
        if name not in names or name not in tree:
            state = "is missing" if name in names else "is unknown"
            raise PolicyError(f"{where}: {name!r} {state}; expected: {', '.join(names)}")
    return dict(tree)
