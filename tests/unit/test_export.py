"""Exported policies: they decide as the modules do that they were made of, on machines that have NumPy alone, too."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_rllib.export import loading, numpy_policy, onnx_graph, program
from edge_rllib.export.errors import PolicyError
from edge_rllib.export.manifest import KIND
from edge_rllib.export.parity import Acting, compare, measure
from edge_rllib.export.policy import Said
from edge_rllib.export.tracing import trace
from edge_rllib.export.writing import Origin, write
from edge_rllib.modules.actor_critic import ActorCritic
from edge_rllib.modules.counterfactual import CounterfactualModule
from edge_rllib.modules.gru import GruModel
from edge_rllib.modules.joint import JointModule
from edge_rllib.modules.mlp import MlpModel
from edge_rllib.modules.q_module import QModule
from edge_rllib.modules.shape import ObservationShape
from edge_rllib.modules.target_mlp import TargetMlpModel
from edge_rllib.runners.agents import agent_spaces
from envs.errors import UnknownName
from envs.matching.world import MatchingParams
from envs.scenario import Scenario, make

N_ROWS = 10_000
OWN, EACH = 3, 4  # features of an agent and of a target
ORIGIN = Origin("ippo", "best", {"edge_rllib": "0"})
BASE = make(Scenario("matching", "matching", None, 0, None, MatchingParams(3, 3, 5, 0.5, 0.5, 0, 0)), 1).spec


def spec_of(n_targets, n_amounts=0, low=0.0, high=1.0, n_agents=3):
    """Return the spec of a world with such decisions; nobody plays it."""
    n_features = OWN + n_targets * EACH
    return dataclasses.replace(
        BASE,
        n_agents=n_agents,
        agents=tuple(f"agent_{n}" for n in range(n_agents)),
        n_targets=n_targets,
        n_features=n_features,
        own_features=OWN,
        target_features=EACH,
        feature_names=tuple(f"feature_{f}" for f in range(n_features)),
        n_amounts=n_amounts,
        amount_names=tuple(f"amount_{a}" for a in range(n_amounts)),
        amount_low=low,
        amount_high=high,
    )


DECISIONS = {"targets": spec_of(4), "box": spec_of(1, 2, -1.0, 1.0), "hybrid": spec_of(3, 2, 0.0, 2.0)}
MLPS = {name: MlpModel((16, 8), (8,), name, name != "relu") for name in ("relu", "tanh", "elu", "silu")}
TARGET_MLP = TargetMlpModel(8, (16,), (8,), "silu", True)
GRU = GruModel((16,), 6, (8,), (8,), 5, "tanh", True)
GROUPS = (0, 1, 0)


def module_of(kind, spec, **values):
    """Return a module whose weights are large enough for decisions that differ."""
    torch.manual_seed(0)
    spaces = agent_spaces(spec, False)
    module = kind(
        observation_space=spaces[0],
        action_space=spaces[1],
        inference_only=True,
        model_config={"shape": ObservationShape.of(spec), "is_central": False, "scale_value": False, **values},
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.4)
        if module.observation_scale is not None:
            module.observation_scale.mean.uniform_(-0.5, 0.5)
            module.observation_scale.std.uniform_(0.02, 2.0)  # some rows are clipped at ten deviations
    return module


def joint_values(model, is_stochastic=False):
    return {
        "model": model,
        "group_of_agent": GROUPS,
        "critic": "shared",
        "n_critics": 1,
        "initial": "orthogonal",
        "is_stochastic": is_stochastic,
        "temperature": 0.5,
        "noise_rate": 1.0,
        "parameter_noise_frac": 0.0,
    }


KINDS = {
    "mlp": lambda spec: module_of(ActorCritic, spec, model=MLPS["silu"]),
    "target_mlp": lambda spec: module_of(ActorCritic, spec, model=TARGET_MLP),
    "gru": lambda spec: module_of(ActorCritic, spec, model=GRU),
    "joint": lambda spec: module_of(JointModule, spec, **joint_values(MLPS["relu"])),
    "joint_stochastic": lambda spec: module_of(JointModule, spec, **joint_values(MLPS["elu"], True)),
    "coma": lambda spec: module_of(CounterfactualModule, spec, **joint_values(MLPS["tanh"])),
    "q": lambda spec: module_of(QModule, spec, model=MLPS["tanh"], is_dueling=True, epsilon=0.5),
    "q_target_mlp": lambda spec: module_of(QModule, spec, model=TARGET_MLP, is_dueling=False, epsilon=0.5),
}
CASES = [(kind, name) for kind in KINDS for name in DECISIONS if not kind.startswith("q") or name == "targets"]
RUNTIMES = pytest.mark.parametrize("runtime", ["numpy", "onnxruntime"])


def written(folder, kind, decision, formats="both"):
    """Export a module that decides for all agents; return the folder and who decides."""
    acting = [Acting("shared", KINDS[kind](DECISIONS[decision]), range(3))]
    write(folder, DECISIONS[decision], acting, ORIGIN, formats)
    return folder, acting


@pytest.fixture
def exported(tmp_path):
    """A policy for targets, by a perceptron."""
    return written(tmp_path / "policy", "mlp", "targets")[0]


def rows_of(spec, n_rows=6):
    rng = np.random.default_rng(3)
    mask = rng.random((n_rows, spec.n_targets)) < 0.5
    mask[:, 0] = True
    return rng.uniform(-1, 1, (n_rows, spec.n_features)).astype(np.float32), mask


@pytest.mark.parametrize(("kind", "decision"), CASES, ids=[f"{kind}-{decision}" for kind, decision in CASES])
def test_decisions_and_what_they_are_chosen_by_are_those_of_torch(tmp_path, kind, decision):
    folder, acting = written(tmp_path / "policy", kind, decision)
    policies = [loading.load(folder, runtime) for runtime in ("numpy", "onnxruntime")]

    found = [measure(policy, acting, N_ROWS, seed=11) for policy in policies]

    assert [policy.runtime for policy in policies] == ["numpy", "onnxruntime"]
    for parity in found:
        assert parity.n_rows >= N_ROWS
        assert parity.largest <= 1e-5
        assert parity.n_other == 0
        assert parity.n_tied <= N_ROWS // 100  # else equal decisions would say little
    targets, _ = policies[0].decide(*rows_of(DECISIONS[decision], 300))
    assert set(targets.tolist()) == set(range(DECISIONS[decision].n_targets))


@RUNTIMES
def test_modules_of_single_agents_decide_for_their_own_rows(tmp_path, runtime):
    spec = DECISIONS["hybrid"]
    acting = [Acting("b", KINDS["mlp"](spec), [2]), Acting("a", KINDS["target_mlp"](spec), [0, 1])]
    write(tmp_path / "policy", spec, acting, ORIGIN)
    policy = loading.load(tmp_path / "policy", runtime)

    parity = measure(policy, acting, N_ROWS, seed=5)

    assert parity.holds
    observation, mask = rows_of(spec, 6)  # two worlds
    targets, amounts = policy.decide(observation, mask)
    alone = policy.of_agent("agent_2").decide(observation[[2, 5]], mask[[2, 5]])
    np.testing.assert_array_equal(alone[0], targets[[2, 5]])
    np.testing.assert_allclose(alone[1], amounts[[2, 5]], atol=1e-6)
    with pytest.raises(PolicyError, match="5 rows for a policy whose 3 agents have networks of their own"):
        policy.decide(observation[:5], mask[:5])
    with pytest.raises(UnknownName, match="did you mean 'agent_2'"):
        policy.of_agent("agent2")


@RUNTIMES
def test_a_network_worked_out_by_hand_decides_as_worked_out(tmp_path, runtime):
    # one hidden layer that passes features 0 and 1 on where they are positive; scores 2 h0, 3 h1, 0; amounts h0 - 0.5
    spec = spec_of(3, 1, low=0.0, high=10.0)
    module = module_of(ActorCritic, spec, model=MlpModel((2,), (2,), "relu", False))
    with torch.no_grad():
        first, _, last = module.actor
        first.weight.zero_(), first.bias.zero_(), last.weight.zero_(), last.bias.zero_()
        first.weight[0, 0] = first.weight[1, 1] = 1.0
        last.weight[0, 0], last.weight[1, 1] = 2.0, 3.0
        last.weight[3:, 0], last.bias[3:] = 1.0, -0.5
    write(tmp_path / "policy", spec, [Acting("shared", module, range(3))], ORIGIN)
    policy = loading.load(tmp_path / "policy", runtime)
    observation = np.zeros((3, spec.n_features), np.float32)
    observation[:, :2] = [1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]
    mask = np.array([[True, True, True], [True, False, True], [False, True, True]])

    said = policy.say(observation, mask)

    assert said.target.tolist() == [1, 0, 1]  # 3 of (2, 3, 0); 2 of (2, -, 0); the first of two equal ones
    total = math.exp(2) + math.exp(3) + 1.0
    np.testing.assert_allclose(said.scores[0], [2 - math.log(total), 3 - math.log(total), -math.log(total)], atol=1e-6)
    np.testing.assert_allclose(said.scores[2], [-1e8, -math.log(2), -math.log(2)], atol=1e-6)
    # 10 / (1 + exp(-2 (h0 - 0.5))), for h0 = 1, 1, 0
    np.testing.assert_allclose(said.amounts[:, 0], [10 / (1 + math.exp(-1))] * 2 + [10 / (1 + math.exp(1))], atol=1e-5)


@RUNTIMES
def test_a_policy_that_remembers_begins_anew_where_it_is_reset(tmp_path, runtime):
    folder, _ = written(tmp_path / "policy", "gru", "targets")
    policy = loading.load(folder, runtime)
    observation, mask = rows_of(DECISIONS["targets"], 4)

    first = policy.say(observation, mask).scores
    second = policy.say(observation, mask).scores
    policy.reset(np.array([True, False, False, True]))
    third = policy.say(observation, mask).scores

    assert not np.allclose(second, first, atol=1e-3)
    np.testing.assert_allclose(third[[0, 3]], first[[0, 3]], atol=1e-6)
    assert not np.allclose(third[[1, 2]], first[[1, 2]], atol=1e-3)
    with pytest.raises(PolicyError, match=r"2 rows, but the policy remembers 4; call reset\(\)"):
        policy.decide(observation[:2], mask[:2])
    policy.reset()
    np.testing.assert_allclose(policy.say(observation[:2], mask[:2]).scores, first[:2], atol=1e-6)


def test_numpy_policy_needs_neither_torch_nor_ray_nor_onnxruntime(exported):
    code = f"""
import sys
import numpy as np
from edge_rllib.export import numpy_policy
policy = numpy_policy.load({str(exported)!r})
observation = np.linspace(-1, 1, 5 * policy.about.n_features, dtype=np.float32).reshape(5, -1)
targets, amounts = policy.decide(observation, np.ones((5, policy.about.n_targets), np.bool_))
print(*targets)
heavy = ("torch", "ray", "onnx", "onnxruntime", "yaml", "numba", "gymnasium", "scipy")
print(*[name for name in heavy if name in sys.modules], "end")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stderr
    targets, loaded = result.stdout.splitlines()
    policy = loading.load(exported, "onnxruntime")
    observation = np.linspace(-1, 1, 5 * policy.about.n_features, dtype=np.float32).reshape(5, -1)
    assert targets.split() == [str(t) for t in policy.decide(observation, np.ones((5, 4), np.bool_))[0]]
    assert loaded == "end"


def test_without_onnxruntime_numpy_runs_the_policy_and_says_so(exported, monkeypatch, caplog):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        policy = loading.load(exported)

    assert policy.runtime == "numpy"
    (record,) = caplog.records
    assert record.getMessage() == f"onnxruntime is not installed: {exported} is run by NumPy, which decides the same"
    with pytest.raises(PolicyError, match="onnxruntime is not installed: pip install"):
        loading.load(exported, "onnxruntime")


@pytest.mark.parametrize(
    ("formats", "files", "runtime", "refused"),
    [
        ("numpy", ["policy.json", "policy.npz"], "numpy", "onnxruntime"),
        ("onnx", ["policy.json", "policy.onnx"], "onnxruntime", "numpy"),
    ],
)
def test_one_format_alone_is_written_and_the_other_runtime_is_refused(tmp_path, formats, files, runtime, refused):
    folder, _ = written(tmp_path / "policy", "mlp", "targets", formats)

    assert sorted(path.name for path in folder.iterdir()) == files
    assert loading.load(folder).runtime == runtime
    with pytest.raises(PolicyError, match="only"):
        loading.load(folder, refused)


def test_both_runtimes_know_the_same_operations():
    assert set(onnx_graph.OPERATIONS) == set(program.OPERATIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o, m: (o[:, :-1], m), "observation has 18 columns; .*scenario matching, takes 19: 19 features and 4"),
        (lambda o, m: (o, m[:, :2]), "mask has 2 columns"),
        (lambda o, m: (o[0], m[0]), r"observation: expected float32 of shape \(n, 19\), got float32 \(19,\)"),
        (lambda o, m: (o.astype(int), m), r"expected float32 of shape \(n, 19\), got int64"),
        (lambda o, m: (o, m.astype(np.float32)), r"mask: expected bool of shape \(n, 4\), got float32"),
        (lambda o, m: (o.tolist(), m), "got list"),
        (lambda o, m: (o[:3], m), "observation has 3 rows and mask 6"),
        (lambda o, m: (o[:0], m[:0]), "at least one"),
        (lambda o, m: (np.where(o == o[2, 5], np.float32(np.nan), o), m), "row 2, feature_5 = nan; expected a finite"),
        (lambda o, m: (np.where(o == o[2, 5], np.float32(np.inf), o), m), "row 2, feature_5 = inf"),
        (lambda o, m: (o, m & (np.arange(6) != 4)[:, None]), "mask: row 4 allows no target"),
    ],
)
def test_what_cannot_be_decided_on_is_refused_in_one_line(exported, change, message):
    policy = numpy_policy.load(exported)
    with pytest.raises(PolicyError, match=message) as caught:
        policy.decide(*change(*rows_of(DECISIONS["targets"])))
    assert "\n" not in str(caught.value)


def changed(folder, change):
    tree = json.loads((folder / "policy.json").read_text())
    change(tree)
    (folder / "policy.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.update(format=2), "written in format 2; this edge-rllib reads up to 1: update it"),
        (lambda tree: tree.update(format="1"), "format = '1'; expected a whole number"),
        (lambda tree: tree.update(kind="other"), f"expected the description of an {KIND}"),
        (lambda tree: tree.pop("memory"), "'memory' is missing"),
        (lambda tree: tree.update(colour=1), "'colour' is unknown"),
        (lambda tree: tree["groups"][0].pop("agents"), "'agents' is missing"),
        (lambda tree: tree["groups"][0].update(agents=[0, 1]), r"agents \[0, 1\] have groups; expected each of 0 .. 2"),
        (lambda tree: tree.update(says="nothing"), "says = 'nothing'; expected log_probs or scores"),
        (lambda tree: tree.update(groups=5), "it is damaged"),
        (lambda tree: tree["groups"][0]["steps"][0].update(operation="exec"), "unknown operation 'exec'"),
        (lambda tree: tree["groups"][0]["steps"][0].update(values={"x": 1}), r"has the numbers \['x'\]; expected \[\]"),
        (lambda tree: tree["groups"][0]["steps"].pop(0), "which nothing before it makes"),
        (lambda tree: tree["groups"][0]["steps"].pop(), "no step makes 'target'"),
        (lambda tree: tree["files"].pop("policy.npz"), "has no policy.npz: only ONNX was exported"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_in_one_line(exported, change, message):
    changed(exported, change)
    with pytest.raises(PolicyError, match=message) as caught:
        numpy_policy.load(exported)
    assert "\n" not in str(caught.value)
    assert str(exported) in str(caught.value)


@pytest.mark.parametrize(("file", "runtime"), [("policy.npz", "numpy"), ("policy.onnx", "onnxruntime")])
def test_one_changed_byte_is_noticed(exported, file, runtime):
    data = bytearray((exported / file).read_bytes())
    data[len(data) // 2] ^= 1
    (exported / file).write_bytes(data)

    with pytest.raises(PolicyError, match=f"{file} is damaged: its SHA-256 is not that in policy.json"):
        loading.load(exported, runtime)
    (exported / file).unlink()
    with pytest.raises(PolicyError, match=f"{file}: cannot be read: No such file"):
        loading.load(exported, runtime)


def test_a_folder_without_a_policy_is_refused(tmp_path, exported):
    with pytest.raises(PolicyError, match=r"is not an exported policy: it has no policy\.json; `edge-rllib export"):
        loading.load(tmp_path)
    with pytest.raises(PolicyError, match="there is no such folder"):
        loading.load(tmp_path / "none")
    (exported / "policy.json").write_text('{"kind": ')
    with pytest.raises(PolicyError, match="cannot be read, it is damaged"):
        loading.load(exported)
    with pytest.raises(PolicyError, match="runtime = 'cuda': expected one of auto, onnxruntime, numpy"):
        loading.load(exported, "cuda")


def test_modules_and_layers_of_other_kinds_are_refused_by_name():
    with pytest.raises(PolicyError, match="module 'shared' is a Linear, which cannot be exported; expected ActorC"):
        trace(nn.Linear(2, 2), "shared")
    module = KINDS["mlp"](DECISIONS["targets"])
    module.actor[1] = nn.Dropout()
    with pytest.raises(PolicyError, match="module 'shared': Dropout in its policy cannot be exported; expected linear"):
        trace(module, "shared")


def test_a_folder_that_holds_something_else_stays_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PolicyError, match="holds something else than an exported policy; choose another place"):
        written(tmp_path, "mlp", "targets")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_older_export_is_replaced_and_a_policy_that_cannot_be_written_leaves_it(tmp_path):
    folder, acting = written(tmp_path / "policy", "mlp", "targets")
    before = (folder / "policy.npz").read_bytes()
    acting[0].module.actor[1] = nn.Dropout()
    with pytest.raises(PolicyError):
        write(folder, DECISIONS["targets"], acting, ORIGIN)
    assert (folder / "policy.npz").read_bytes() == before

    written(folder, "gru", "targets")

    assert (folder / "policy.npz").read_bytes() != before
    assert [path.name for path in Path(tmp_path).iterdir()] == ["policy"]


def said_of(target, scores, amounts=0.0):
    rows = len(target)
    return Said(np.array(target), np.full((rows, 1), amounts, np.float32), np.array(scores, np.float32))


def test_the_comparison_sees_what_it_must_reject():
    mask = np.array([[True, True], [True, False], [True, True]])
    torch_said = said_of([0, 0, 1], [[2.0, 1.0], [5.0, -1e8], [1.0, 1.000001]])

    assert compare(torch_said, torch_said, mask).holds
    assert not compare(said_of([0, 0, 1], [[2.0, 1.0001], [5.0, -1e8], [1.0, 1.000001]]), torch_said, mask).holds
    assert not compare(said_of([0, 0, 1], torch_said.scores, amounts=1e-4), torch_said, mask).holds
    assert compare(said_of([1, 0, 1], torch_said.scores), torch_said, mask).n_other == 1
    # the best two of row 2 are nearer than the tolerance: either may be taken, and rows that differ lie side by side
    either = compare(said_of([0, 0, 0], torch_said.scores), torch_said, mask)
    assert (either.n_other, either.n_tied, either.holds) == (0, 1, True)


def test_a_policy_that_differs_from_torch_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(program.OPERATIONS, "tanh", lambda x: np.tanh(x) + np.float32(1e-3))
    with pytest.raises(PolicyError, match="the policy by numpy differs from torch: by "):
        written(tmp_path / "policy", "gru", "targets", "numpy")
    assert list(tmp_path.iterdir()) == []
