"""A run of the testbed: processes are started, decided for, measured, judged, and ended, whatever happens."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_rllib.experiment.versions import versions
from edge_rllib.results.files import CONFIG, FIGURES, VERSIONS, explained, write_json, write_text
from edge_rllib.testbed import judge
from edge_rllib.testbed.controller import Controller, Played
from edge_rllib.testbed.episodes import store
from edge_rllib.testbed.gathering import Gathering
from edge_rllib.testbed.ground import MACHINES, Ground
from edge_rllib.testbed.launcher import Launcher
from edge_rllib.testbed.listening import LOOPBACK
from edge_rllib.testbed.params import BedScenario, least_scale
from edge_rllib.testbed.policies import Policy
from edge_rllib.testbed.rates import RateModel
from edge_rllib.testbed.scenarios import dump
from edge_rllib.testbed.shaping import probe
from edge_rllib.testbed.vision.detectors import detector
from envs.errors import ConfigError

log = logging.getLogger(__name__)

LOG, TASKS, EPOCHS, SUMMARY, TIMELINE = "log.txt", "tasks.json", "epochs.json", "summary.json", "timeline.png"
EPISODES = "episodes.npz"


@dataclass(frozen=True)
class Where:
    """On what a run takes place."""

    tier: int  # 0 to 2, or MACHINES
    scale: float  # wall-clock seconds of a second of the scenario
    note: str  # what a person should know about the tier; empty: nothing
    host: str = LOOPBACK  # where the controller listens
    port: int = 0
    token: bytes = b""  # of other machines; processes of this one get a random token of the run


def place(scenario: BedScenario, asked_tier: str, scale: float) -> Where:
    """Return on what a run on this machine takes place; raises ConfigError for a scale at which it cannot."""
    if not scale > 0.0:
        raise ConfigError(f"--scale {scale}: expected more than 0")
    if scale < least_scale(scenario):
        raise ConfigError(
            f"--scale {scale}: a lane would need more than a whole core; at least {least_scale(scenario):.3g} for "
            f"scenario {scenario.name}"
        )
    states = probe.probe()
    tier, note = probe.choose(asked_tier, states)
    asked, cores = scenario.cores() / scale, len(os.sched_getaffinity(0))
    if asked > cores:
        crowd = (
            f"the scenario asks for {asked:.2f} cores and this machine has {cores}: work will be slower than it says"
        )
        note = f"{note}; {crowd}" if note else crowd
    return Where(tier, scale, note)


def place_on_machines(host: str, port: int, token: bytes) -> Where:
    """Return the place of a run whose devices and servers are other machines, which know the token."""
    return Where(MACHINES, 1.0, "links and processors are as the machines have them", host, port, token)


def run(
    scenario: BedScenario,
    policy: Policy,
    policy_name: str,
    where: Where,
    folder: Path,
    on_start: Callable[[Gathering, dict[str, int]], None] = lambda gathering, pids: None,
    radio: RateModel | None = None,
) -> dict[str, Any]:
    """Play a scenario, write the result into a folder, and return its summary.

    ``radio`` gives the links' rates whenever an upload begins or ends, in place of the scenario's own model.
    ``on_start`` is called once all is ready, with the connections and the process ids by "role index".
    """
    detector(scenario.work.detector)  # refuses at once where a package or a file is missing
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, dump(scenario))
    write_json(folder / VERSIONS, versions())
    load_before = os.getloadavg()[0]
    with _logging_to(folder / LOG):
        if where.note:
            log.warning("%s", where.note)
        with started(scenario, where, folder / LOG, radio) as (controller, gathering, pids):
            controller.bring_up()
            on_start(gathering, pids)
            played = controller.play(policy)
    figures = _save(scenario, played, policy_name, where, folder, load_before)
    store(folder / EPISODES, scenario, f"testbed, tier {_tier(where)}", [played], getattr(policy, "kind", "cuts"))
    return figures


def _tier(where: Where) -> int | str:
    return "machines" if where.tier == MACHINES else where.tier


@contextlib.contextmanager
def started(
    scenario: BedScenario, where: Where, log_file: Path, radio: RateModel | None = None
) -> Iterator[tuple[Controller, Gathering, dict[str, int]]]:
    """Yield a controller whose processes are on their way, and their ids; end them all in the end."""
    token = where.token if where.tier == MACHINES else secrets.token_bytes(32)
    wanted = {"server": scenario.n_servers, "device": scenario.n_devices}
    if where.tier != MACHINES:
        wanted = {"relay": 1, **wanted}
    with contextlib.ExitStack() as stack:
        ground = stack.enter_context(Ground(scenario, where.tier, where.scale))
        launcher = None
        if where.tier != MACHINES:
            launcher = Launcher(log_file)
            stack.callback(launcher.close)
        gathering = stack.enter_context(Gathering(where.host, where.port, token, wanted))
        log.info("the controller listens on %s:%d", gathering.host, gathering.port)
        pids = {}
        if launcher is not None:
            for role, number in wanted.items():
                for index in range(number):
                    pids[f"{role} {index}"] = launcher.start(role, index, LOOPBACK, gathering.port, token)
        yield Controller(scenario, ground, gathering, radio), gathering, pids


def _save(
    scenario: BedScenario, played: Played, policy_name: str, where: Where, folder: Path, load_before: float
) -> dict[str, Any]:
    from edge_rllib.results.plots import save
    from edge_rllib.testbed import timeline

    figures = {
        "scenario": scenario.name,
        "policy": policy_name,
        "tier": _tier(where),
        "tier_note": where.note,
        "scale": where.scale,
        "load_before": load_before,  # processes that wanted a core in the minute before: others slow the testbed down
        **judge.summary(scenario, played),
        "lost": played.lost,
    }
    write_json(
        folder / TASKS, [{**task.as_json(), "cost": judge.task_cost(task, scenario.cost)} for task in played.tasks]
    )
    write_json(folder / EPOCHS, judge.epoch_table(played, scenario))
    write_json(folder / SUMMARY, figures)
    about = f"{scenario.name}, {policy_name}, tier {figures['tier']}, time x {where.scale:g}, seed {scenario.seed}"
    save(timeline.draw(scenario, played.tasks, about), folder / FIGURES / TIMELINE)
    return figures


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Send what the testbed logs in this process to the log of the run too."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s controller %(message)s"))
    logger = logging.getLogger("edge_rllib.testbed")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
