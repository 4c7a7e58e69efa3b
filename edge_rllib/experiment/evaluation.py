"""Judge policies on held-out worlds: a learned one, greedy or as it explores, and every rule, on the same worlds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_rllib.config.load import load_rule
from edge_rllib.config.schema import RunConfig
from edge_rllib.experiment import checkpoints
from edge_rllib.experiment.build import algorithm_config
from edge_rllib.experiment.seeding import child_seed
from edge_rllib.results.comparison import LEARNED, NOT_ASKED, RETURN, Played, compare, response_bins, table
from edge_rllib.results.files import COMPARISON, COMPARISON_TEXT, SUMS, ResultError, new_file, write_json, write_text
from edge_rllib.results.score import RANDOM, Bounding
from envs.arrays import F4, F8, I8
from envs.constants import EVALUATION_WORLD_ID
from envs.errors import ConfigError
from envs.registry import names, resolve
from envs.scenario import Scenario, make
from envs.world import World

log = logging.getLogger(__name__)

JUDGED_WORLD_ID = EVALUATION_WORLD_ID + 2**20  # the final worlds are not those that chose the best checkpoint
ALL_RULES = "all"


@dataclass
class Watched:
    """What was seen while a policy played, for histograms and the figure of the network."""

    target_tier: list[I8] = field(default_factory=list)  # of each decision that had a choice, in a network
    target: list[I8] = field(default_factory=list)  # of each decision that had a choice, elsewhere
    amounts: list[F4] = field(default_factory=list)  # (B, N, A) of each step
    queue_tasks: list[F8] = field(default_factory=list)  # (B, N) of each step
    busy_cores: list[F8] = field(default_factory=list)  # (M,) of each step, mean over worlds

    def see(self, world: Any, buffers: Any) -> None:
        """Note one step; a world without a view shows nothing."""
        if not hasattr(world, "view"):
            return
        if world.spec.n_amounts:
            self.amounts.append(buffers.amounts[0].copy())
        has_choice = buffers.mask[0].sum(-1) > 1
        view = world.view()
        if not hasattr(view, "target_tier"):
            self.target.append(buffers.decision[0][has_choice])
            return
        chosen = np.take_along_axis(view.target_tier, buffers.decision[0].T, axis=1).T
        self.target_tier.append(chosen[has_choice])
        self.queue_tasks.append(view.queue_tasks[:, :, 0].copy())
        nodes = getattr(getattr(world, "state", None), "node", None)
        if nodes is not None and "n_busy" in (nodes.dtype.names or ()):
            self.busy_cores.append(nodes["n_busy"].mean(0))

    def queues_by_tier(self, agent_tier: I8) -> dict[int, F8]:
        """Return the queue lengths seen at the agents of each tier."""
        if not self.queue_tasks:
            return {}
        queues = np.stack(self.queue_tasks)
        return {int(tier): queues[:, :, agent_tier == tier].ravel() for tier in np.unique(agent_tier)}

    def mean_busy_cores(self) -> F8 | None:
        """Return the mean number of busy cores of each node; None where nothing was seen."""
        return np.mean(self.busy_cores, axis=0) if self.busy_cores else None


class PolicyPlayer:
    """A learned policy at the controls of a batch of held-out worlds."""

    def __init__(self, config: Any, n_worlds: int, seed: int, first_world_id: int, explore: bool) -> None:
        """Build worlds and modules from an RLlib config of the package; weights come by ``set_weights``."""
        from edge_rllib.runners.acting import Manner
        from edge_rllib.runners.batched import BatchedEnvRunner

        config = config.copy(copy_frozen=False)
        config.env_config = {**config.env_config, "seed": seed, "first_world_id": first_world_id}
        config.num_env_runners, config.num_envs_per_env_runner = 0, n_worlds
        config.callbacks_class = []
        self._runner = BatchedEnvRunner(config=config, worker_index=0, num_workers=0)
        self._manner = Manner(explore=explore, is_random=False, keep_logits=False, env_steps=0)

    @property
    def world(self) -> World:
        """The worlds that are played."""
        world = self._runner.env
        assert world is not None
        return world

    @property
    def actors(self) -> list[Any]:
        """The modules with the agents that they decide for (``ModuleActor``)."""
        return self._runner.actors

    def set_weights(self, weights: Any) -> None:
        """Take over the state of the modules."""
        self._runner.module.set_state(weights)

    def take_weights(self, algorithm: Any) -> None:
        """Take over the newest weights of an Algorithm in training."""
        state = algorithm.learner_group.get_state(components="learner/rl_module", inference_only=True)
        self.set_weights(state["learner"]["rl_module"])

    def load_weights(self, checkpoint: Path) -> None:
        """Take over the modules of a checkpoint; refuse one that lacks a module, which RLlib would leave untrained."""
        module = self._runner.module
        path = checkpoint / "learner_group" / "learner" / "rl_module"
        lacking = [name for name, _ in module.get_checkpointable_components() if not (path / name).is_dir()]
        if lacking and path.is_dir():
            known = ", ".join(sorted(each.name for each in path.iterdir() if each.is_dir()))
            raise ResultError(
                f"checkpoint {checkpoint} has no module {lacking[0]!r}; it has: {known}; expected one of a scenario "
                "with the same agents"
            )
        with checkpoints.damaged(checkpoint):
            module.restore_from_path(str(path.resolve()), inference_only=True)

    def play(self, watched: Watched | None = None) -> Played:
        """Play the first episode of each world and return its sums and returns."""
        spec, runner = self.world.spec, self._runner
        runner._last = None
        sums: F8 = np.zeros((spec.n_worlds, len(spec.sum_names)))
        returns: F8 = np.zeros((spec.n_worlds, spec.n_agents))
        is_running = np.ones(spec.n_worlds, np.bool_)
        for _ in range(spec.horizon_steps):
            buffers, _, _ = runner._fragment(1, self._manner)
            returns[is_running] += buffers.reward[0][is_running]
            has_ended = is_running & (buffers.terminated[0] | buffers.truncated[0])
            sums[has_ended] = buffers.final.final_sums[has_ended]
            if watched is not None:
                watched.see(self.world, buffers)
            is_running &= ~has_ended
            if not is_running.any():
                break
        return Played(sums, returns)


def figures_of(world: World, played: Played) -> dict[str, float]:
    """Return the figures of the added sums of all worlds, and the mean return."""
    return {**world.summarise(played.sums.sum(0)), RETURN: float(played.returns.sum(1).mean())}


def judging_sign(run: RunConfig) -> float:
    """Return 1 if the leading figure should be high, -1 if low; refuse an unknown figure or rule."""
    rule_names(run.evaluation.rules, run.scenario.world)
    metrics = make(run.scenario, 1, run.seed).spec.metrics
    better = {metric.name: metric.better for metric in metrics} | {RETURN: "high"}
    if run.evaluation.metric not in better:
        raise ConfigError(
            f"evaluation.metric = {run.evaluation.metric!r} is no figure of this world; known: {', '.join(better)}"
        )
    return 1.0 if better[run.evaluation.metric] == "high" else -1.0


def rule_names(rules: Iterable[str], world: str) -> list[str]:
    """Return names of rules for a world, with "all" replaced by every registered one that can be played there.

    A rule asked for by name that the world's view does not suit is refused.
    """
    wanted = list(rules)
    fitting = [name for name in names("baseline") if world in resolve("baseline", name).worlds]
    for name in (name for name in wanted if name != ALL_RULES):
        playable = load_rule(name).worlds
        if world not in playable:
            known = f"the rules of that world are: {', '.join(fitting)}" if fitting else "no rule can"
            raise ConfigError(
                f"evaluation.rules: {name} cannot be played in world {world}, only in {', '.join(playable)}; {known}"
            )
    if ALL_RULES in wanted:
        wanted = [name for name in wanted if name != ALL_RULES] + fitting
    return list(dict.fromkeys(wanted))


def evaluate(
    run: RunConfig,
    folder: Path,
    checkpoint: Path | None,
    *,
    scenario: Scenario | None = None,
    n_worlds: int | None = None,
    decisions: str | None = None,
    note: Callable[[str], None] = log.info,
) -> dict[str, Any]:
    """Play the policy of a checkpoint and the rules, write the comparison into ``folder`` and return it."""
    problem = scenario or run.scenario
    n_worlds = n_worlds or run.evaluation.worlds
    decisions = decisions or run.evaluation.decisions
    played: dict[str, Played] = {}
    if checkpoint is not None:
        note(f"{LEARNED}: {n_worlds} worlds")
        player = PolicyPlayer(_config_for(run, problem), n_worlds, run.seed, JUDGED_WORLD_ID, decisions == "sampled")
        player.load_weights(checkpoint)
        played[LEARNED] = player.play()
    world = make(problem, n_worlds, run.seed, JUDGED_WORLD_ID)
    played |= play_rules(world, JUDGED_WORLD_ID, _rules_and_chance(run, problem.world), run.seed, note)
    about = {
        "scenario": problem.name,
        "run": run.name,
        "algorithm": type(run.algorithm).__name__.removesuffix("Params").lower(),
        "checkpoint": checkpoint.name if checkpoint else None,
        "decisions": decisions,
        "seed": run.seed,
        "first_world_id": JUDGED_WORLD_ID,
    }
    bounding = _bounding(run, problem, world, played, note)
    comparison = compare(played, world.spec.metrics, world.summarise, run.evaluation.metric, about, bounding)
    _add_bins(comparison, played, world)
    _write(folder, comparison, played, world)
    return comparison


def _rules_and_chance(run: RunConfig, world: str) -> list[str]:
    """Return the rules to play: the score needs the rule random, wanted or not."""
    rules = rule_names(run.evaluation.rules, world)
    is_scored = run.evaluation.bound != "none" and RANDOM in rule_names([ALL_RULES], world)
    return list(dict.fromkeys([*rules, RANDOM])) if is_scored else rules


def _bounding(
    run: RunConfig, scenario: Scenario, world: World, played: Mapping[str, Played], note: Callable[[str], None]
) -> Bounding:
    """Return what no policy can beat in the worlds that were played."""
    from envs.bounds.base import NoBound
    from envs.bounds.choose import bound_for

    wanted, figure = run.evaluation.bound, run.evaluation.metric
    if wanted == "none":
        return NOT_ASKED
    try:
        bound = bound_for(wanted, scenario, figure, world.spec.n_worlds, run.seed, JUDGED_WORLD_ID)
    except NoBound as error:
        return Bounding("none", str(error))
    note(f"bound {bound.name}: {world.spec.n_worlds} worlds")
    limits = bound.limits(figure, {policy: each.sums for policy, each in played.items()})
    return Bounding(bound.name, bound.meaning, limits, bound.of_all(figure))


def checkpoint_named(folder: Path, name: str | None) -> Path:
    """Return a checkpoint of a result: "best" (also for None), "latest" or the number of an iteration."""
    if name in (None, checkpoints.BEST):
        return checkpoints.best(folder)
    if name == "latest":
        return checkpoints.latest(folder)
    return checkpoints.of_iteration(folder, str(name))


def evaluation_folder(folder: Path, scenario: str, n_worlds: int, checkpoint: str, decisions: str) -> Path:
    """Return where an evaluation of its own is written, below the result that it belongs to."""
    return folder / "evaluations" / f"{scenario}-{n_worlds}-worlds-{checkpoint}-{decisions}"


def play_rules(
    world: World, first_world_id: int, rules: Iterable[str], seed: int, note: Callable[[str], None] = log.info
) -> dict[str, Played]:
    """Play rules, as ``rule_names`` lists them, on the worlds with ids from ``first_world_id``.

    A world without a view has no rules.
    """
    from envs.baselines.base import play

    if not hasattr(world, "view"):
        note("no rules: this world does not show what they need")
        return {}
    ids = first_world_id + np.arange(world.spec.n_worlds, dtype=np.int64)
    played = {}
    for name in rules:
        label = name.rpartition(":")[2]
        note(f"{label}: {world.spec.n_worlds} worlds")
        sums, returns = play(world, load_rule(name), ids, child_seed(seed, "rules"))
        played[label] = Played(sums, returns)
    return played


def _config_for(run: RunConfig, scenario: Scenario) -> Any:
    """Return the RLlib config of a run on another scenario of the same shape."""
    import dataclasses

    return algorithm_config(dataclasses.replace(run, scenario=scenario))


def _add_bins(comparison: dict[str, Any], played: dict[str, Played], world: World) -> None:
    for policy, each in played.items():
        bins = response_bins(each.sums.sum(0), world.spec.sum_names)
        if bins is not None:
            comparison["policies"][policy]["response_bins"] = bins.astype(np.int64).tolist()


def _write(folder: Path, comparison: dict[str, Any], played: dict[str, Played], world: World) -> None:
    arrays: dict[str, Any] = {f"{policy}_sums": each.sums for policy, each in played.items()}
    arrays |= {f"{policy}_returns": each.returns for policy, each in played.items()}
    with new_file(folder / SUMS) as part, part.open("wb") as file:
        np.savez_compressed(file, sum_names=np.array(world.spec.sum_names), **arrays)
    write_json(folder / COMPARISON, comparison)
    write_text(folder / COMPARISON_TEXT, table(comparison))
