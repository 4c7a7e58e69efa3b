"""The Learner of DDQN: it owns the replay, so that rollouts reach it as they reach any other Learner.

Several learners have a replay each, of the worlds that they are handed; every one draws its share of a minibatch from
its own, and the summed gradient is that of the whole minibatch. All decide together when to step and how often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor
from torch.nn import functional

from edge_rllib import compat
from edge_rllib.algorithms import preparation
from edge_rllib.algorithms.learner import PREPARE_TIMER, STEP_TIMER, RolloutLearner
from edge_rllib.algorithms.stored import check_filling, check_warm
from edge_rllib.modules.actor_critic import MASK
from edge_rllib.modules.q_module import VALUES
from edge_rllib.ops.categorical import mask_logits
from edge_rllib.runners import rollout as column
from edge_rllib.runners.replay import Replay
from edge_rllib.runners.rollout import Rollout
from envs.rng import key_from_seed

COMPONENT_REPLAY = "replay"
RETURNS, DISCOUNT, WEIGHT, NEXT_OBSERVATION, NEXT_MASK = "returns", "discount", "weight", "next_obs", "next_action_mask"
LEAST_PRIORITY = 1e-3  # at unit scale: a row without error is still drawn now and then
LEAST_STD = 1e-4  # below it all rewards are the same


class Draws:
    """The minibatches of one update; each is drawn when the one before has set its priorities."""

    def __init__(self, learner: QLearner, rows: Mapping[str, int], n_updates: int, env_steps: int) -> None:
        """Plan ``n_updates`` minibatches with so many ``rows`` of each module."""
        self.learner, self.rows, self.n_updates, self.env_steps = learner, dict(rows), n_updates, env_steps

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.n_updates):
            columns = {module_id: self.learner.draw(module_id, n_rows) for module_id, n_rows in self.rows.items()}
            yield compat.minibatch(columns, max(1, self.env_steps // self.n_updates))
            self.learner.prioritise()


class QLearner(RolloutLearner):
    """Double Q-learning with targets from a copied network [van Hasselt, Guez and Silver, 2016]."""

    def build(self) -> None:
        """Build as RLlib does, and the copied networks."""
        super().build()
        self.values = self.config.ddqn
        for module_id in self.module.keys():  # noqa: SIM118  (a MultiRLModule is not a dict)
            self.module[module_id].unwrapped().make_target_networks()
        self.replays: dict[str, Replay] = {}
        self.keeps_value_scale = False  # it came with the first weights
        self._saved: dict[str, Any] = {}  # contents from a checkpoint, until the replay of that module is built
        self._agents: dict[str, int] = {}
        self._owed_rows = 0.0  # rows that the ratio allows to train on and that did not fill a minibatch
        self._n_updates = 0  # gradient steps of the run
        self._drawn: dict[str, Any] = {}  # places and, once the loss is known, priorities of the current minibatch
        self._beta = self.values.importance_beta
        self._generator = np.random.default_rng([key_from_seed(self.config.seed or 0, "replay"), compat.rank()])

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """Name what a module must offer."""
        return [TargetNetworkAPI]

    def update(
        self, batch: Any = None, training_data: Any = None, *, new_frac: float | None = None, **kwargs: Any
    ) -> Any:
        """Store rollouts and do as many gradient steps as the ratio of trained to stored rows asks for.

        With ``new_frac`` this share of all rows counts as stored, instead of those of the rollouts.
        """
        training_data = compat.training_data(batch) if training_data is None else training_data
        rollouts = self.with_terms(compat.rollouts_of(training_data))
        with self.metrics.log_time((ALL_MODULES, PREPARE_TIMER), reduce="mean", window=1):
            draws = self._plan(rollouts, new_frac)
        if self._n_updates or draws is not None:
            self._follow_schedules((kwargs.get("timesteps") or {}).get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        if draws is None:
            self._merge_observed()
        else:
            with self.metrics.log_time((ALL_MODULES, STEP_TIMER), reduce="mean", window=1):
                prepared = compat.training_data(draws)
                TorchLearner.update(self, training_data=prepared, **{**kwargs, "_no_metrics_reduce": True})
        self._log_replays()
        return self.metrics.reduce()

    @torch.no_grad()
    def _plan(self, rollouts: list[Rollout], new_frac: float | None) -> Draws | None:
        """Store rollouts; return what to draw, or None while there is too little. A collective call."""
        own: dict[str, tuple[int, float]] = {}
        for module_id in rollouts[0].columns:
            if self.should_module_be_updated(module_id):
                new = sum(self._replay(module_id, rollout).add(rollout, module_id) for rollout in rollouts)
                replay = self.replays[module_id]
                check_filling("replay_rows", int(replay.ring.n_written[0]), replay.n_places, new_frac)
                own[module_id] = (replay.n_ready, new if new_frac is None else new_frac * replay.n_ready)
                self._observe_rows(module_id, rollouts)
        everyone = compat.gather_objects(own)
        ready = {module_id: sum(part[module_id][0] for part in everyone) for module_id in own}
        check_warm("warm_up_rows", sum(ready.values()), self.values.warm_up_rows, new_frac)
        if sum(ready.values()) < self.values.warm_up_rows:
            return None
        # a module with few agents, or few decisions, draws fewer rows: none is trained more often than the others
        most = max(self._agents.values())
        whole = self.values.minibatch_rows / most / len(everyone)
        rows = {module_id: max(1, round(whole * n)) for module_id, n in self._agents.items()}
        rows = {m: n for m, n in rows.items() if m in own and min(part[m][0] for part in everyone) >= n}
        if not rows:
            return None
        if self._n_updates == 0 and self.values.normalise_value and not self.keeps_value_scale:
            self._set_value_scales(rows)
        largest = max(rows, key=lambda m: sum(part[m][1] for part in everyone))
        self._owed_rows += self.values.replay_ratio * sum(part[largest][1] for part in everyone)
        n_updates = int(self._owed_rows / (rows[largest] * len(everyone)))
        self._owed_rows -= n_updates * rows[largest] * len(everyone)
        steps = sum(rollout.env_steps() for rollout in rollouts)
        return Draws(self, rows, n_updates, steps) if n_updates else None

    def _replay(self, module_id: str, rollout: Rollout) -> Replay:
        if module_id not in self.replays:
            self._agents = {name: len(agents) for name, agents in rollout.agents.items()}
            share = self._agents[module_id] / sum(self._agents.values()) / max(1, self.config.num_learners)
            mask, observation = rollout.columns[module_id][column.MASK], rollout.columns[module_id][column.OBSERVATION]
            values = self.values
            replay = Replay(
                max(1, int(values.replay_rows * share)),
                (observation.shape[-1], mask.shape[-1]),
                values.n_step,
                self.config.get_config_for_module(module_id).gamma,
                values.train_on == "all",
                values.priority_alpha,
            )
            if module_id in self._saved:
                replay.set_state(self._saved.pop(module_id))
            self.replays[module_id] = replay
        return self.replays[module_id]

    def _observe_rows(self, module_id: str, rollouts: list[Rollout]) -> None:
        is_scaled = self.module[module_id].unwrapped().observation_scale is not None
        if is_scaled and any(rollout.n_steps for rollout in rollouts):
            columns = [rollout.columns[module_id][column.OBSERVATION][:-1] for rollout in rollouts]
            rows = torch.cat([compat.as_tensor(observation, "cpu").flatten(0, 2) for observation in columns])
            self._seen[module_id] = preparation.global_moments(rows)

    def _merge_observed(self) -> None:
        for module_id, seen in self._seen.items():
            self.module[module_id].unwrapped().observation_scale.merge(seen)
        self._seen = {}

    def _set_value_scales(self, module_ids: Any) -> None:
        """Set each module's scale of values by the transitions of the warm-up; it stays for the whole run.

        The mean is the value of earning the mean reward for ever, the deviation that of a transition's rewards.
        """
        for module_id in module_ids:
            returns, discount = self.replays[module_id].ready_returns()
            rows = torch.from_numpy(np.stack((returns, discount), -1))
            known = preparation.global_moments(rows)
            mean, share = (float(value) for value in known.mean)
            std = float((known.squares[0] / known.count).sqrt())
            module = self.module[module_id].unwrapped()
            module.value_std.fill_(std if std > LEAST_STD else 1.0)
            module.value_mean.fill_(mean / max(1.0 - share, 1e-2))

    def _follow_schedules(self, env_steps: int) -> None:
        """Set the chance of random decisions and the weights' exponent; both wait until learning begins."""
        values, total = self.values, self.config.total_env_steps
        progress = env_steps / total if total else 1.0
        self._beta = values.importance_beta + (1.0 - values.importance_beta) * min(1.0, progress)
        fallen = min(1.0, progress / values.epsilon_frac) if values.epsilon_frac else 1.0
        epsilon = values.epsilon + (values.final_epsilon - values.epsilon) * fallen
        for module_id in self.module.keys():  # noqa: SIM118
            self.module[module_id].unwrapped().epsilon.fill_(epsilon)

    def draw(self, module_id: str, n_rows: int) -> dict[str, Tensor]:
        """Return a minibatch of a module."""
        rows = self.replays[module_id].draw(n_rows, self._beta, self._generator)
        self._drawn[module_id] = (rows.place, None)
        columns = {
            Columns.OBS: rows.observation,
            MASK: rows.mask,
            Columns.ACTIONS: rows.decision,
            RETURNS: rows.returns,
            DISCOUNT: rows.discount,
            NEXT_OBSERVATION: rows.next_observation,
            NEXT_MASK: rows.next_mask,
            WEIGHT: rows.weight,
        }
        return {name: compat.as_tensor(array, self.device) for name, array in columns.items()}

    def prioritise(self) -> None:
        """Set the priorities of the minibatch that was trained on."""
        for module_id, (place, priority) in self._drawn.items():
            if priority is not None:
                self.replays[module_id].prioritise(place, priority)
        self._drawn = {}

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Mapping[str, Any], fwd_out: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the weighted Huber loss of the values of the decisions taken."""
        module = self.module[module_id].unwrapped()
        taken = fwd_out[VALUES].gather(-1, batch[Columns.ACTIONS].unsqueeze(-1)).squeeze(-1)
        with torch.no_grad():
            following = (batch[NEXT_OBSERVATION], batch[NEXT_MASK])
            behind = module.target_values(*following)
            judge = module.values(*following) if self.values.is_double else behind
            best = mask_logits(judge, batch[NEXT_MASK]).argmax(-1, keepdim=True)
            behind = module.to_reward_units(behind.gather(-1, best).squeeze(-1))
            target = module.to_unit_scale(batch[RETURNS] + batch[DISCOUNT] * behind)
        loss = (batch[WEIGHT] * functional.huber_loss(taken, target, reduction="none", delta=self.values.huber)).mean()
        error = (taken - target).detach().abs()
        self._drawn[module_id] = (self._drawn[module_id][0], error.double().cpu().numpy() + LEAST_PRIORITY)
        self.metrics.log_dict(
            {
                "q_loss": loss.detach(),
                "q_mean": module.to_reward_units(taken.detach().mean()),
                "td_error_abs_mean": error.mean() * module.value_std,
            },
            key=module_id,
            window=1,
        )
        return loss

    def apply_gradients(self, gradients_dict: Any) -> None:
        """Step, and move the copied networks each ``target_interval`` steps."""
        super().apply_gradients(gradients_dict)
        self._n_updates += 1
        if self._n_updates % self.values.target_interval:
            return
        for module_id in self.module.keys():  # noqa: SIM118
            for main, target in self.module[module_id].unwrapped().get_target_network_pairs():
                pairs = list(target.parameters()), [parameter.detach() for parameter in main.parameters()]
                with torch.no_grad():
                    torch._foreach_lerp_(*pairs, self.values.target_rate)

    def _create_iterator_if_necessary(self, *, training_data: Any, **kwargs: Any) -> Any:
        return training_data.batch

    def _log_replays(self) -> None:
        for module_id, replay in self.replays.items():
            epsilon = float(self.module[module_id].unwrapped().epsilon)
            figures = {"replay_rows": replay.n_ready, "epsilon": epsilon, "gradient_steps": self._n_updates}
            self.metrics.log_dict(figures, key=module_id, window=1)

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return RLlib's state, counters and, if the config says so, what the replays hold."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if compat.wants(self, COMPONENT_REPLAY, components, not_components):
            state[COMPONENT_REPLAY] = {
                "owed_rows": self._owed_rows,
                "n_updates": self._n_updates,
                "keeps_value_scale": self.keeps_value_scale,
                "generator": self._generator.bit_generator.state,
                "contents": self._contents() if self.values.save_replay else {},
            }
        return state

    def _contents(self) -> dict[str, Any]:
        return {**self._saved, **{module_id: replay.get_state() for module_id, replay in self.replays.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state; without the replays' contents learning begins again after a warm-up."""
        super().set_state(state)
        if COMPONENT_REPLAY in state:
            saved = state[COMPONENT_REPLAY]
            self._owed_rows, self._n_updates = saved["owed_rows"], saved["n_updates"]
            self.keeps_value_scale = saved.get("keeps_value_scale", False)
            if max(1, self.config.num_learners) == 1:
                self._generator.bit_generator.state = saved["generator"]
            self._saved, self.replays = dict(saved["contents"]), {}
