"""Write a trained policy as a folder that needs neither torch nor Ray."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edge_rllib.export import loading, numpy_policy, onnx_policy
from edge_rllib.export.errors import PolicyError
from edge_rllib.export.manifest import ARRAYS, FORMAT, KIND, MANIFEST, SEPARATOR, Group, Manifest, digest, text
from edge_rllib.export.onnx_graph import OPSET, model_of
from edge_rllib.export.parity import TOLERANCE, Acting, measure
from edge_rllib.export.program import LOG_PROBS, Program
from edge_rllib.export.tracing import Traced, agents_of, trace
from edge_rllib.results.files import new_folder
from envs.world import WorldSpec

FORMATS = ("onnx", "numpy", "both")
CHECKED_ROWS = 1_000  # observations on which every policy is compared with torch as it is written
DEFAULT_FOLDER = "policy"  # within a result
_RULES = {
    LOG_PROBS: "the allowed target of highest probability, and the mean of its amounts before squashing, squashed",
    "scores": "the allowed target of highest value",
}


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a policy comes from."""

    algorithm: str
    checkpoint: str
    versions: dict[str, Any]


def default_formats() -> tuple[str, str]:
    """Return the formats to write where nobody says which, and what to tell about it, empty for nothing."""
    if find_spec("onnx") is not None:
        return "both", ""
    return "numpy", 'onnx is not installed: no ONNX graph is written; pip install "edge-rllib[onnx]" brings it'


def export_result(result: Path, target: Path, checkpoint: Path, formats: str) -> Manifest:
    """Write the policy of a result's checkpoint into a new folder and return its manifest."""
    from edge_rllib.config.load import load_run
    from edge_rllib.experiment.build import algorithm_config
    from edge_rllib.experiment.evaluation import JUDGED_WORLD_ID, PolicyPlayer
    from edge_rllib.experiment.versions import versions
    from edge_rllib.results.files import CONFIG

    run = load_run(str(result / CONFIG))
    player = PolicyPlayer(algorithm_config(run), 1, run.seed, JUDGED_WORLD_ID, explore=False)
    player.load_weights(checkpoint)
    acting = [Acting(actor.module_id, actor.module, actor.agents.tolist()) for actor in player.actors]
    algorithm = type(run.algorithm).__name__.removesuffix("Params").lower()
    made_with = {name: value for name, value in versions().items() if name not in ("command", "machine")}
    return write(target, player.world.spec, acting, Origin(algorithm, checkpoint.name, made_with), formats)


def write(target: Path, spec: WorldSpec, acting: Sequence[Acting], origin: Origin, formats: str = "both") -> Manifest:
    """Write modules as an exported policy into a new folder, compare it with torch, and return its manifest.

    Raises PolicyError for modules that cannot be exported, for one that differs from torch by more than the tolerance,
    and for a folder that holds something else.
    """
    if formats not in FORMATS:
        raise PolicyError(f"--format {formats}: expected one of {', '.join(FORMATS)}")
    if target.exists() and not loading.is_exported(target) and (not target.is_dir() or any(target.iterdir())):
        raise PolicyError(f"{target} holds something else than an exported policy; choose another place")
    networks = [(each, traced) for each in acting for traced in trace(each.module, each.name)]
    with new_folder(target) as part:
        manifest = _fill(part, spec, networks, origin, formats)
        parity = {}
        for runtime in _runtimes(manifest):
            found = measure(loading.load(part, runtime), acting, CHECKED_ROWS, seed=0)
            parity[runtime] = found.largest
            if not found.holds:
                raise PolicyError(
                    f"the policy by {runtime} differs from torch: by {found.largest:.3g} in scores and amounts, and in "
                    f"{found.n_other} of {found.n_rows} targets; expected at most {TOLERANCE:g} and 0"
                )
        manifest = dataclasses.replace(manifest, parity=parity)
        (part / MANIFEST).write_text(text(manifest), encoding="utf-8")
    return manifest


def _fill(
    folder: Path, spec: WorldSpec, networks: Sequence[tuple[Acting, Traced]], origin: Origin, formats: str
) -> Manifest:
    """Write arrays, graphs and a first manifest."""
    memory = _memory(networks)
    sizes = {"F": spec.n_features, "K": spec.n_targets, "A": spec.n_amounts, "H": memory}
    groups, contents = [], {}
    for index, (acting, traced) in enumerate(networks):
        name = acting.name if not traced.members else f"{acting.name} {index}"
        graph = ""
        if formats != "numpy":
            graph = "policy.onnx" if len(networks) == 1 else f"policy_{index}.onnx"
            contents[graph] = model_of(traced.program, name, sizes)
        groups.append(Group(name, agents_of(traced, acting.agents), graph, traced.program.steps))
    if formats != "onnx":
        contents[ARRAYS] = _packed([traced.program for _, traced in networks])
    for file, data in contents.items():
        (folder / file).write_bytes(data)
    versions = {**origin.versions, "onnx_opset": OPSET} if formats != "numpy" else origin.versions
    says = networks[0][1].says
    manifest = Manifest(
        kind=KIND,
        format=FORMAT,
        scenario=spec.scenario,
        algorithm=origin.algorithm,
        checkpoint=origin.checkpoint,
        agents=spec.agents,
        feature_names=spec.feature_names,
        n_targets=spec.n_targets,
        has_local=spec.has_local,
        amount_names=spec.amount_names,
        amount_low=spec.amount_low,
        amount_high=spec.amount_high,
        memory=memory,
        says=says,
        rule=_RULES[says],
        groups=tuple(groups),
        files={file: digest(data) for file, data in contents.items()},
        parity={},
        versions=versions,
    )
    (folder / MANIFEST).write_text(text(manifest), encoding="utf-8")
    return manifest


def _memory(networks: Sequence[tuple[Acting, Traced]]) -> int:
    """Return H, the same for all modules of a run, as they have one model."""
    acting, traced = networks[0]
    return int(acting.module.model.memory) if traced.program.has_memory else 0


def _packed(programs: Sequence[Program]) -> bytes:
    arrays = {
        f"{index}{SEPARATOR}{name}": values
        for index, program in enumerate(programs)
        for name, values in program.constants.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _runtimes(manifest: Manifest) -> list[str]:
    """Return what the policy can be compared with torch by, here."""
    runtimes = [numpy_policy.RUNTIME] if manifest.has_numpy else []
    has_runtime = manifest.has_onnx and find_spec("onnxruntime") is not None
    return [*runtimes, onnx_policy.RUNTIME] if has_runtime else runtimes
