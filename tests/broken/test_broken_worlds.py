"""What the conformance checks of worlds, networks and workloads must reject, each with its message."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from envs import registry
from envs.errors import DecisionError
from envs.matching.world import MatchingParams, MatchingWorld
from envs.scenario import Scenario
from envs.testing import ConformanceError, check_topology, check_workload, check_world
from envs.topologies.topology import Topology, TopologyBuilder
from envs.workloads.workload import TaskTable, Workload

PARAMS = MatchingParams(
    n_agents=2, n_targets=3, horizon_steps=6, task_prob=0.7, allowed_prob=0.5, lag_steps=0, n_amounts=0
)
SCENARIO = Scenario("broken", "matching", None, 0, None, PARAMS)


class FeatureTooLarge(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.observation[1, 0, 1] = 1.5


class StateIsNaN(MatchingWorld):
    def reset(self, world_ids, out):
        super().reset(world_ids, out)
        out.state[0, 2] = np.nan


class LocalMasked(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.target_mask[:, :, 0] = False


class WrongDtype(MatchingWorld):
    def outcome(self):
        return super().outcome()._replace(state=np.zeros((self.spec.n_worlds, self.spec.n_state)))


class ForgetsReward(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out._replace(reward=np.zeros_like(out.reward)))


class ForgetsFlagsOnReset(MatchingWorld):
    def reset(self, world_ids, out):
        super().reset(world_ids, out._replace(truncated=np.zeros_like(out.truncated)))


class WritesIntoOldOutcome(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        if hasattr(self, "_old"):
            self._old.reward[0] = 7.0
        self._old = out


class ChangesDecision(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        decision[0, 0] = 0


class DrawsFromNowhere(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.reward[0] += np.random.default_rng().random()


class DependsOnRow(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        np.add(out.reward, np.arange(len(out.reward))[:, None], out=out.reward)


class TruncatesEarly(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.truncated[1] = True


class NeverEnds(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.truncated[:] = False


class ForgetsFinalSums(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out._replace(final_sums=np.zeros_like(out.final_sums)))


class WritesFinalsAlways(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.final_state[:] = 0.0


class FinalObservationTooLarge(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.final_observation[out.truncated, 0, 0] = -3.0


class ForgetsFinalMask(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out._replace(final_target_mask=np.zeros_like(out.final_target_mask)))


class WritesFinalMaskAlways(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.final_target_mask[:] = True


class NothingAllowed(MatchingWorld):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.spec = replace(self.spec, has_local=False)

    def step(self, decision, out):
        super().step(decision, out)
        out.target_mask[0, 1] = False


class ForgetsMetric(MatchingWorld):
    def summarise(self, sums):
        return {}


class SharesSnapshot(MatchingWorld):
    def snapshot(self):
        return {**super().snapshot(), "step": self._step}


class UnpicklableSnapshot(MatchingWorld):
    def snapshot(self):
        return {**super().snapshot(), "function": lambda: None}


class ForgetsStateInSnapshot(MatchingWorld):
    def restore(self, snapshot):
        super().restore(snapshot)
        self._sums[:] = 0.0


class ForgetsSeedInSnapshot(MatchingWorld):
    def restore(self, snapshot):
        super().restore({**snapshot, "key": self._key})


class ContinuesOnReset(MatchingWorld):
    def _begin(self, b):
        self._episode[b] += self._ids[b] * 0 + getattr(self, "_n_resets", 0)
        super()._begin(b)

    def reset(self, world_ids, out):
        super().reset(world_ids, out)
        self._n_resets = 1


class IgnoresIds(MatchingWorld):
    def reset(self, world_ids, out):
        super().reset(None, out)


class CountsMaskedAsChosen(MatchingWorld):
    def step(self, decision, out):
        paid = (decision == self._pays[np.arange(self.spec.n_worlds), self._step]).astype(np.float32)
        super().step(decision, out)
        out.reward[:] = paid


class ForgetsToCountMasked(MatchingWorld):
    def step(self, decision, out):
        super().step(decision, out)
        out.final_sums[out.truncated, 3] = 0.0


class AcceptsAnyDtype(MatchingWorld):
    def check_decision(self, decision, amounts=None):
        pass


class RaisesOtherError(MatchingWorld):
    def check_decision(self, decision, amounts=None):
        if decision.dtype != np.int64:
            raise RuntimeError("no")


def with_spec(**changes):
    class OtherSpec(MatchingWorld):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.spec = replace(self.spec, **changes)

    return OtherSpec


BROKEN_WORLDS = [
    (FeatureTooLarge, r"observation\[1, 0, 1\] is 1.5, expected -1 .. 1 at step 0"),
    (StateIsNaN, r"state\[0, 2\] is nan, expected -1 .. 1 after reset"),
    (LocalMasked, r"target_mask\[..., 0\] is False at step 0 of an episode; local is always allowed"),
    (WrongDtype, r"Outcome.state: expected an array of float32, got float64"),
    (ForgetsReward, r"reward\[0, 0\] is nan at step 0"),
    (ForgetsFlagsOnReset, r"after reset, reward, terminated and truncated must be zero"),
    (WritesIntoOldOutcome, r"step wrote into an outcome of an earlier step at step 1 of an episode: reward\[0, 0\]"),
    (ChangesDecision, r"step changed the caller's decisions"),
    (DrawsFromNowhere, r"two worlds of one seed differ at step 0: reward\[0, 0\]"),
    (DependsOnRow, r"a world alone differs from the same in a batch at step 0: reward\[0, 0\] is [23].0 and [01].0"),
    (TruncatesEarly, r"truncated is \[False, True, False\] after \[1, 1, 1\] steps of an episode; the horizon is 6"),
    (NeverEnds, r"truncated is \[False, False, False\] after \[6, 6, 6\] steps of an episode; the horizon is 6"),
    (ForgetsFinalSums, r"final_sums of a world that ended was not written at step 5 of an episode"),
    (WritesFinalsAlways, r"final_state of a world that did not end was written at step 0"),
    (FinalObservationTooLarge, r"final_observation\[0, 0, 0\] is -3.0, expected -1 .. 1"),
    (ForgetsMetric, r"summarise and spec.metrics disagree on paid_frac"),
    (SharesSnapshot, r"a snapshot changed while its world went on; it must be a copy"),
    (UnpicklableSnapshot, r"a snapshot cannot be pickled"),
    (ForgetsStateInSnapshot, r"the same world differs 3 steps after a restored snapshot: final_sums"),
    (ForgetsSeedInSnapshot, r"a world of another seed differs 3 steps after a restored snapshot: observation"),
    (ContinuesOnReset, r"reset\(None\) does not begin the first episode again"),
    (IgnoresIds, r"a world does not follow its id in reset\(world_ids\)"),
    (CountsMaskedAsChosen, r"a masked target does not count as target 0 at step \d+: reward"),
    (ForgetsToCountMasked, r"'refused' counts \[0.0, 0.0, 0.0\] masked decisions, given were \[\d+, \d+, \d+\]"),
    (AcceptsAnyDtype, r"int32 \(3, 2\) as decision: accepted; expected DecisionError"),
    (RaisesOtherError, r"int32 \(3, 2\) as decision: expected DecisionError, got RuntimeError\('no'\)"),
    (with_spec(own_features=3), r"spec: F = own_features \+ K \* target_features: this does not hold"),
    (with_spec(agents=("a", "a")), r"spec: agents are N different names"),
    (with_spec(feature_names=("a",)), r"spec: feature_names are F different names"),
    (with_spec(sum_names=("steps", "decisions", "paid", "no")), r"spec: sum_names holds 'refused'"),
    (with_spec(agent_tier=np.zeros(3, np.int64)), r"spec: agent_tier has shape \(2,\)"),
    (with_spec(step_s=0.0), r"spec: an episode has a length"),
    (with_spec(n_amounts=1), r"spec: amount_names are A different names"),
    (ForgetsFinalMask, r"final_target_mask\[..., 0\] is False at step 5 of an episode; local is always allowed"),
    (WritesFinalMaskAlways, r"final_target_mask of a world that did not end was written at step 0"),
    (NothingAllowed, r"target_mask of an agent has no allowed target at step 0"),
]


@pytest.mark.parametrize(("world", "message"), BROKEN_WORLDS, ids=lambda value: getattr(value, "__name__", ""))
def test_check_world_rejects(world, message):
    with pytest.raises(ConformanceError, match=message):
        check_world(lambda n_worlds, seed, first: world(SCENARIO, n_worlds, seed, first))


def test_check_world_accepts_the_world_that_the_broken_ones_were_made_from():
    assert check_world(lambda n_worlds, seed, first: MatchingWorld(SCENARIO, n_worlds, seed, first)).n_steps == 12


@dataclass(frozen=True)
class DebugParams(MatchingParams):
    debug: bool


class DebugIgnored(MatchingWorld):
    """Has a debug mode that refuses nothing."""


class DebugTooStrict(MatchingWorld):
    def __init__(self, scenario, *others):
        super().__init__(scenario, *others)
        self.refuses_all = scenario.params.debug

    def step(self, decision, out):
        if self.refuses_all:
            raise DecisionError("no")
        super().step(decision, out)


@pytest.mark.parametrize(
    ("world", "allowed_prob", "message"),
    [
        (DebugIgnored, 0.0, "debug mode accepted masked decisions"),  # 40 steps, two of three targets are masked
        (DebugTooStrict, 1.0, "debug mode refused allowed decisions"),  # nothing is masked
    ],
)
def test_check_world_rejects_a_debug_mode_that(world, allowed_prob, message, monkeypatch):
    monkeypatch.setitem(registry._ADDED, "world", {"broken": world})
    values = {field.name: getattr(PARAMS, field.name) for field in fields(PARAMS)}
    values |= {"n_agents": 1, "horizon_steps": 40, "task_prob": 1.0, "allowed_prob": allowed_prob}
    with pytest.raises(ConformanceError, match=message):
        check_world(Scenario("broken", "broken", None, 0, None, DebugParams(**values, debug=False)))


def line_network(rate_bps=1e6, names=("a", "b")):
    """Return a device linked with a server."""
    two = {"n_cores": 1, "queue_places": 5, "tier": [0, 1], "link_source": [0, 1], "link_target": [1, 0]}
    ints = {name: np.array(np.broadcast_to(value, 2), np.int64) for name, value in two.items()}
    floats = ("core_hz", "queue_bits", "idle_w", "busy_w", "transmit_w", "link_delay_s")
    return Topology(
        name="line",
        node_name=names,
        node_type=("x", "x"),
        is_device=np.array([True, False]),
        position_m=np.zeros((2, 2)),
        link_rate_bps=np.full(2, float(rate_bps)),
        link_channel=np.arange(2),
        **{name: np.ones(2) for name in floats},
        **ints,
    )


@dataclass(frozen=True)
class Line(TopologyBuilder):
    flaw: str

    def build(self, rng):
        if self.flaw == "no topology":
            return None
        if self.flaw == "global generator":
            np.random.rand()  # noqa: NPY002
        if self.flaw == "rate from nowhere":
            return line_network(np.random.default_rng().random() + 1.0)
        if self.flaw == "names from nowhere":
            return line_network(names=("a", f"b{np.random.default_rng().random()}"))
        return line_network(names=("a", "a") if self.flaw == "same names" else ("a", "b"))


@dataclass
class NotFrozen(TopologyBuilder):
    def build(self, rng):
        return line_network()


@dataclass(frozen=True)
class Unpicklable(Line):
    def __reduce__(self):
        raise TypeError("never")


@dataclass(frozen=True)
class ForgetsFields(Line):
    def __reduce__(self):
        return ForgetsFields, ("another",)


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (Line("no topology"), "Line: build returned NoneType, expected Topology"),
        (Line("global generator"), "Line: draws from NumPy's global generator"),
        (Line("rate from nowhere"), "Line: two networks of one seed differ in link_rate_bps"),
        (Line("names from nowhere"), "Line: two networks of one seed differ in node_name"),
        (Line("same names"), "Line: 2 nodes need as many different names"),
        (NotFrozen(), "NotFrozen: expected a frozen dataclass"),
        (Unpicklable(""), "Unpicklable: cannot be pickled: never"),
        (ForgetsFields(""), "ForgetsFields: differs from itself after pickling"),
        (object(), "object: expected a subclass of TopologyBuilder"),
    ],
    ids=lambda value: getattr(value, "flaw", type(value).__name__),
)
def test_check_topology_rejects(builder, message):
    with pytest.raises(ConformanceError, match=message):
        check_topology(builder)


def test_check_topology_accepts_the_network_that_the_broken_ones_were_made_from():
    assert check_topology(Line("")) == (3, 6, 6)


@dataclass(frozen=True)
class Drip(Workload):
    """Ten tasks per second at node 0, as many as the rate says."""

    flaw: str

    def tasks(self, draws, topology, horizon_s):
        if self.flaw == "no table":
            return []
        if self.flaw == "global generator":
            np.random.rand()  # noqa: NPY002
        n_tasks = int(10 * horizon_s)
        created_s = np.arange(n_tasks) / 10
        created_s += {"late": 0.5, "chance from nowhere": np.random.default_rng().random() / 100}.get(self.flaw, 0.0)
        ones = np.ones(n_tasks)
        due_s = created_s + 1.0
        return TaskTable(created_s, np.zeros(n_tasks, np.int64), ones, ones, ones, due_s, np.zeros(n_tasks, np.int64))

    def mean_rate_hz(self, topology):
        return {"rate of milliseconds": 0.01, "no rate": np.nan}.get(self.flaw, 10.0)


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("no table", "Drip: tasks returned list, expected TaskTable"),
        ("global generator", "Drip: draws from NumPy's global generator"),
        ("chance from nowhere", "Drip: two tables of the same draws differ in created_s"),
        ("late", "Drip: a task is created at 60.4 s, horizon 60 s"),
        (
            "rate of milliseconds",
            "mean_rate_hz is 0.01, but 4800 tasks in 480 s are 10 per second of the whole network",
        ),
        ("no rate", "Drip: mean_rate_hz is nan; expected a finite number >= 0"),
    ],
)
def test_check_workload_rejects(flaw, message):
    with pytest.raises(ConformanceError, match=message):
        check_workload(Drip(flaw), line_network())


def test_check_workload_accepts_the_workload_that_the_broken_ones_were_made_from():
    assert check_workload(Drip(""), line_network()) == (8, 4800, 1)
