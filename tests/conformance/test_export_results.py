"""The policies of all algorithms can be exported, and decide along whole episodes as evaluations do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_rllib.algorithms.settings import RunSettings
from edge_rllib.cli.main import main
from edge_rllib.config.load import load_run, load_scenario
from edge_rllib.config.parts import load_part
from edge_rllib.config.source import Source
from edge_rllib.experiment.evaluation import PolicyPlayer
from edge_rllib.experiment.run import train
from edge_rllib.export import loading
from edge_rllib.export.parity import TOLERANCE, Acting
from edge_rllib.export.writing import Origin, write
from envs import registry
from envs.matching.world import MatchingParams
from envs.scenario import Scenario

TARGETS = Scenario("matching", "matching", None, 0, None, MatchingParams(4, 5, 20, 0.5, 0.6, 0, 0))
HYBRID, BOX = "mec_2es_3md_v1", "multiuser_testbed_8"
N_WORLDS, N_STEPS = 8, 12
MODELS = {
    "mlp": {"name": "mlp", "hidden": [8], "critic_hidden": [8]},
    "target_mlp": {"name": "target_mlp", "embedding": 8, "hidden": [8], "critic_hidden": [8]},
    "gru": {"name": "gru", "hidden": [8], "memory": 6, "head_hidden": [8], "critic_hidden": [8]},
}
TARGETS_ALONE = ("ddqn",)
CASES = [(name, "mlp") for name in registry.names("algorithm")] + [("ippo", "target_mlp"), ("ippo", "gru")]


def player_of(algorithm, model, scenario, sharing):
    """Return untrained modules at the controls of worlds; their weights are large, so that decisions differ."""
    source = Source(None)
    # sequences have all rows, and fit into fragments
    in_sequences = {"train_on": "all", "fragment_steps": 20} if model == "gru" else {}
    values = load_part("algorithm", {"name": algorithm, **in_sequences}, source)
    settings = RunSettings(scenario, n_worlds=N_WORLDS, seed=3, module_sharing=sharing)
    config = values.to_config(settings, load_part("model", MODELS[model], source))
    torch.manual_seed(5)
    player = PolicyPlayer(config, N_WORLDS, 3, 0, explore=False)
    with torch.no_grad():
        for actor in player.actors:
            for parameter in actor.module.parameters():
                parameter.normal_(0.0, 0.5)
    return player


def assert_decides_as_the_runner(player, policy):
    """Play an episode's beginning and compare every decision; return how many different ones there were."""
    runner, n_amounts = player._runner, player.world.spec.n_amounts
    seen = set()
    for step in range(N_STEPS):
        buffers, _, _ = runner._fragment(1, player._manner)
        if step and (buffers.terminated[0] | buffers.truncated[0]).any():
            break
        rows = buffers.observation[0].shape[0] * buffers.observation[0].shape[1]
        observation, mask = buffers.observation[0].reshape(rows, -1), buffers.mask[0].reshape(rows, -1)
        said = policy.say(observation, mask)
        best = np.sort(np.where(mask, said.scores, -np.inf), -1)
        is_clear = best[:, -1] - best[:, -2] > TOLERANCE if mask.shape[1] > 1 else np.ones(rows, np.bool_)
        np.testing.assert_array_equal(said.target[is_clear], buffers.decision[0].ravel()[is_clear])
        if n_amounts:
            amounts = buffers.amounts[0].reshape(rows, n_amounts)
            np.testing.assert_allclose(said.amounts[is_clear], amounts[is_clear], atol=TOLERANCE)
            seen |= set(np.round(said.amounts, 4).ravel().tolist())
        seen |= set(said.target.tolist())
    assert step > 0
    assert len(seen) > 1


@pytest.mark.parametrize(("algorithm", "model"), CASES, ids=[f"{name}-{model}" for name, model in CASES])
def test_policies_of_every_algorithm_decide_as_in_evaluations(tmp_path: Path, algorithm: str, model: str) -> None:
    is_simple = algorithm in TARGETS_ALONE or model != "mlp"
    scenario = TARGETS if is_simple else load_scenario(HYBRID, {"params": {"horizon_slots": 40}})
    player = player_of(algorithm, model, scenario, "shared" if algorithm == "federated" else "per_agent")
    acting = [Acting(actor.module_id, actor.module, actor.agents.tolist()) for actor in player.actors]

    manifest = write(tmp_path / "policy", player.world.spec, acting, Origin(algorithm, "best", {}))

    assert len(manifest.groups) == (1 if algorithm == "federated" else len(manifest.agents))
    assert max(manifest.parity.values()) <= TOLERANCE
    assert set(manifest.parity) == {"numpy", "onnxruntime"}
    assert_decides_as_the_runner(player, loading.load(tmp_path / "policy", "numpy"))


def test_a_central_agent_that_decides_on_amounts_alone_can_be_exported(tmp_path: Path) -> None:
    player = player_of("ddpg", "mlp", load_scenario(BOX), "shared")
    acting = [Acting(actor.module_id, actor.module, actor.agents.tolist()) for actor in player.actors]
    write(tmp_path / "policy", player.world.spec, acting, Origin("ddpg", "best", {}))
    policy = loading.load(tmp_path / "policy", "numpy")

    assert policy.about.n_targets == 1
    assert policy.about.n_amounts > 1
    assert_decides_as_the_runner(player, policy)


TINY = {
    "scenario": "fog_ring_8",
    "scenario.params.horizon_slots": 20,
    "scenario.workload.tasks_per_s": 12.0,
    "algorithm.fragment_steps": 10,
    "n_env_runners": 0,
    "n_worlds": 4,
    "total_env_steps": 80,
    "evaluation.worlds": 2,
    "evaluation.watched_worlds": 2,
    "evaluation.rules": ["local"],
    "evaluation.bound": "none",
}


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
# Ray leaves pipes and sockets of its processes to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_command_exports_the_best_checkpoint_of_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result"
    train(load_run("quickstart", TINY), result)
    capsys.readouterr()

    assert main(["export", str(result)]) == 0

    printed = capsys.readouterr().out
    policy = loading.load(result / "policy")
    assert "ippo for fog_ring_8, checkpoint best: 8 agents in 1 groups" in printed
    assert "by numpy: at most" in printed
    assert "by onnxruntime: at most" in printed
    assert printed.endswith(f"written: {result / 'policy'}\n")
    assert (policy.about.scenario, policy.about.algorithm, policy.runtime) == ("fog_ring_8", "ippo", "onnxruntime")
    assert policy.about.versions["torch"] == torch.__version__
    assert main(["export", str(result), "--to", str(tmp_path / "pi"), "--format", "numpy"]) == 0
    assert sorted(path.name for path in (tmp_path / "pi").iterdir()) == ["policy.json", "policy.npz"]
    capsys.readouterr()
    assert main(["export", str(result), "--to", str(result)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "holds something else than an exported policy" in error
    assert main(["export", str(tmp_path / "pi")]) == 2
    assert "is not a result: it has no config.yaml" in capsys.readouterr().err
