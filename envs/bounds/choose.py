"""Which bound fits a scenario."""

from __future__ import annotations

from collections.abc import Iterator

from envs.bounds.base import Bound, NoBound
from envs.bounds.linear_program import LinearProgram
from envs.bounds.matching import BestKnown
from envs.bounds.mec import MecReturn, MecSlots, MecZeroQueue
from envs.bounds.multiuser import MultiuserAlone
from envs.bounds.testbed import BedFluid
from envs.bounds.tiny import ValueIteration
from envs.bounds.zero_queue import ZeroQueue
from envs.scenario import Scenario

MAX_AUTO_TASKS = 12_000  # of all worlds together: linear_program then takes about ten seconds


def bound_for(wanted: str, scenario: Scenario, figure: str, n_worlds: int, seed: int, first_world_id: int) -> Bound:
    """Return a bound on a figure of the first episodes of worlds; raise NoBound where none is known.

    ``wanted`` is zero_queue, linear_program or auto: the exact optimum of a tiny network, linear_program where the
    worlds have few tasks, else zero_queue. In the MEC world auto and linear_program are the best decisions of empty
    slots where those are known; in the multi-user world and the testbed's twin there is one bound.
    """
    other_figures, refusal = "", ""  # why: what was asked of the scenario tells more than what was not asked
    for kind in _kinds(wanted, scenario, n_worlds):
        if figure not in kind.figures:
            other_figures = f"{kind.name} bounds {', '.join(kind.figures)}; not {figure}"
            continue
        try:
            return kind(scenario, n_worlds, seed, first_world_id)
        except NoBound as error:
            refusal = str(error)
    raise NoBound(refusal or other_figures)


def _kinds(wanted: str, scenario: Scenario, n_worlds: int) -> Iterator[type[Bound]]:
    """Yield the bounds to try, the sharpest first."""
    if scenario.world == "matching":
        yield BestKnown
        return
    if scenario.world == "mec":
        if wanted != "zero_queue":
            yield MecSlots
            yield MecReturn
        yield MecZeroQueue
        return
    if scenario.world == "multiuser":
        yield MultiuserAlone
        return
    if scenario.world == "testbed":
        yield BedFluid
        return
    if scenario.world != "fog":
        raise NoBound(f"no bound is known for world {scenario.world}")
    if scenario.params.semantics != "correct":
        raise NoBound(f"no bound is known for semantics: {scenario.params.semantics}")
    if wanted == "auto":
        yield ValueIteration
    n_tasks = scenario.workload.mean_rate_hz(scenario.network()) * scenario.params.horizon_s * n_worlds
    if wanted == "linear_program" or (wanted == "auto" and n_tasks <= MAX_AUTO_TASKS):
        yield LinearProgram
    yield ZeroQueue
