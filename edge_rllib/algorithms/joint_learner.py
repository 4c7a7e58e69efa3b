"""The Learner of off-policy algorithms with central critics: it owns the joint replay and its own loop of steps.

Every learner is handed all rollouts and keeps the whole replay, so that all draw the same minibatches without a word;
each works on its part of the rows, and the summed gradient is that of the whole minibatch. Several learners are thus
one learner, up to the order of additions. RLlib's way from a minibatch to a gradient would take 2 ms of each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from edge_rllib import compat
from edge_rllib.algorithms.joint_update import JointUpdate, Networks, Step, Transitions
from edge_rllib.algorithms.learner import PREPARE_TIMER, STEP_TIMER, RolloutLearner
from edge_rllib.algorithms.reward_terms import JointBatch
from edge_rllib.algorithms.stored import check_filling, check_warm
from edge_rllib.modules.critics import Situation
from edge_rllib.modules.joint import JOINT, JointModule
from edge_rllib.ops import hybrid, traces
from edge_rllib.ops.moments import moments
from edge_rllib.runners.joint import JointRows, joint_rows
from edge_rllib.runners.joint_replay import JointDraw, JointReplay, JointSizes, join_worlds, shortened, walk
from edge_rllib.runners.rollout import Rollout
from envs.arrays import F8, I8
from envs.rng import key_from_seed

COMPONENT_REPLAY = "replay"
LEAST_PRIORITY = 1e-3  # at unit scale: a row without error is still drawn now and then
LEAST_STD = 1e-4  # below it all rewards are the same
TERM_ROWS = 4096  # about so many are shown to reward terms at a time


class JointLearner(RolloutLearner):
    """Stores rollouts and does as many gradient steps as the ratio of updates to environment steps asks for."""

    def build(self) -> None:
        """Build as RLlib does, the copied networks, and what does a gradient step."""
        super().build()
        self.values = self.config.off_policy
        self.joint: JointModule = self.module[JOINT].unwrapped()
        self.joint.make_target_networks()
        self.replay: JointReplay | None = None
        self.keeps_value_scale = False  # it came with the first weights
        self._saved: dict[str, Any] | None = None  # contents from a checkpoint, until the replay is built
        self._owed_updates = 0.0
        self._beta = self.values.importance_beta
        self._agreement = self.values.agreement(self.joint.model_config["shape"])
        self._mean_steps = float(self.values.n_step)  # of the latest transitions
        seed = key_from_seed(self.config.seed or 0, "replay")  # the same on all learners
        self._draws = np.random.default_rng(seed)
        self._noise = torch.Generator(self.device).manual_seed(seed % 2**63)
        self.joint_update: JointUpdate = self.values.joint_update(
            self._networks(), self._optimizers(), self._noise, self._sum_gradients(), self.joint
        )

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """Name what a module must offer."""
        return [TargetNetworkAPI]

    def trained_parts(self, module: Any, config: Any) -> dict[str, tuple[Any, Any]]:
        """Return critics, policies and, if there are any, temperatures."""
        parts = {"critic": (module.critics, config.critic_rate), "actor": (module.policy, config.lr)}
        if module.log_temperatures is not None:
            parts["temperature"] = (module.log_temperatures, config.off_policy.temperature_learning_rate)
        return parts

    def update(
        self, batch: Any = None, training_data: Any = None, *, new_frac: float | None = None, **kwargs: Any
    ) -> Any:
        """Store rollouts, do the gradient steps that are due, log figures of the last one.

        With ``new_frac`` this share of all steps in the replay counts as stored, instead of those of the rollouts.
        """
        training_data = compat.training_data(batch) if training_data is None else training_data
        timesteps = kwargs.get("timesteps") or {}
        self._weights_seq_no += 1
        with self.metrics.log_time((ALL_MODULES, PREPARE_TIMER), reduce="mean", window=1):
            n_updates = self._store(compat.rollouts_of(training_data), new_frac)
        self.before_gradient_based_update(timesteps=timesteps)
        if self.joint_update.n_steps or n_updates:
            self._follow_schedules(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        errors: Tensor | None = None
        with self.metrics.log_time((ALL_MODULES, STEP_TIMER), reduce="mean", window=1):
            for drawn in self._draw_all(n_updates):
                for each, rewards in zip(drawn, self._rewards(drawn), strict=True):
                    errors = self._gradient_step(each, rewards)
        self.after_gradient_based_update(timesteps=timesteps)
        self._log(errors)
        return self.metrics.reduce()

    def _store(self, rollouts: list[Rollout], new_frac: float | None) -> int:
        """Store rollouts, show them to the reward terms, and return how many gradient steps are due."""
        n_stored = 0.0
        for rows, world_ids in self._whole(rollouts):
            if self.replay is None:
                self.replay = self._empty_replay(rows)
            self.replay.add(rows, world_ids)
            n_stored += rows.terminated.size
            for term in self.reward_terms:
                term.observe(rows, world_ids)
            if self.joint.observation_scale is not None and rows.terminated.size:
                seen = compat.as_tensor(rows.observation[:-1], "cpu").flatten(0, 2)
                self.joint.observation_scale.merge(moments(seen))
        assert self.replay is not None
        check_filling("replay_steps", int(self.replay.ring.n_written[0]), self.replay.n_places, new_frac)
        check_warm("warm_up_steps", self.replay.n_ready, self.values.warm_up_steps, new_frac)
        if new_frac is not None:
            n_stored = new_frac * self.replay.n_ready
        if self.replay.n_ready < self.values.warm_up_steps:
            return 0
        if self.joint_update.n_steps == 0 and self.values.normalise_value and not self.keeps_value_scale:
            self._set_value_scale()
        self._owed_updates += self.values.updates_per_step * n_stored
        n_updates = int(self._owed_updates)
        self._owed_updates -= n_updates
        return n_updates

    def _whole(self, rollouts: list[Rollout]) -> list[tuple[JointRows, I8]]:
        """Return rollouts as joint rows; remote runners have cut each into a part for every learner."""
        n_parts = max(1, self.config.num_learners) if self.config.num_env_runners else 1
        whole = []
        for begin in range(0, len(rollouts), n_parts):
            parts = rollouts[begin : begin + n_parts]
            rows = join_worlds([joint_rows(part) for part in parts])
            whole.append((rows, np.concatenate([part.world_ids for part in parts])))
        return whole

    def _empty_replay(self, rows: JointRows) -> JointReplay:
        values = self.values
        gamma = self.config.get_config_for_module(JOINT).gamma
        sizes = JointSizes.of(rows)
        replay = JointReplay(values.replay_steps, sizes, values.n_step, gamma, values.priority_alpha)
        if self._saved is not None:
            replay.set_state(self._saved)
            self._saved = None
        return replay

    def _set_value_scale(self) -> None:
        """Set the scale of values by the transitions of the warm-up; it stays for the whole run.

        The mean is the value of earning the mean reward for ever, the deviation that of a transition's rewards.
        """
        assert self.replay is not None
        returns, discount = self.replay.ready_returns()
        std = float(returns.std()) * self.values.reward_scale
        self.joint.value_std.fill_(std if std > LEAST_STD else 1.0)
        mean = float(returns.mean()) * self.values.reward_scale
        self.joint.value_mean.fill_(mean / max(1.0 - float(discount.mean()), 1e-2))

    def _follow_schedules(self, env_steps: int) -> None:
        """Set how much runners explore, and the weights' exponent; both wait until learning begins."""
        total = self.config.total_env_steps
        progress = min(1.0, env_steps / total) if total else 1.0
        self._beta = self.values.importance_beta + (1.0 - self.values.importance_beta) * progress
        self.joint.is_random.fill_(0.0)
        exploration = self.values.exploration(progress, self.joint.sizes)
        self.joint.epsilon.fill_(exploration.epsilon)
        self.joint.noise_std.fill_(exploration.noise_std)
        self.joint_update.entropy_coeff = exploration.entropy_coeff

    def _draw_all(self, n_updates: int) -> Iterator[list[JointDraw]]:
        """Draw the minibatches of all gradient steps, some at a time; one by one where priorities or policies count."""
        assert self.replay is not None
        n_rows = self.values.minibatch_steps
        is_fixed = not self.values.priority_alpha and self.values.n_step_rule != "adaptive"
        n_together = 1 if not is_fixed else max(1, TERM_ROWS // (n_rows * self.values.n_step))
        for begin in range(0, n_updates, n_together):
            n_drawn = min(n_together, n_updates - begin)
            yield [self._draw(n_rows) for _ in range(n_drawn)]

    def _draw(self, n_rows: int) -> JointDraw:
        """Return transitions, as long as the rule has them."""
        assert self.replay is not None
        drawn = self.replay.draw(n_rows, self._beta, self._draws)
        if self.values.n_step_rule != "adaptive" or self.values.n_step == 1:
            return drawn
        n_steps = traces.agreeing_steps(self._agrees(drawn.step_place[:, 1:])).numpy(force=True)
        self._mean_steps = float(np.minimum(n_steps, (drawn.step_weight > 0.0).sum(1)).mean())
        return shortened(drawn, n_steps)

    @torch.no_grad()
    def _agrees(self, place: I8) -> Tensor:
        """Return (R, L) whether all agents would decide today as they did at places (R, L), without noise."""
        assert self.replay is not None
        ring, joint = self.replay.ring, self.joint
        flat = place.reshape(-1)
        says = joint.policy(self._situation(flat).observation, self._load(ring.mask.take(flat, 0)))
        target = says.log_probs.argmax(-1)
        is_same = target == self._load(ring.target.take(flat, 0))
        if joint.sizes.n_amounts:
            amounts = hybrid.of_target(hybrid.squash(says.mean, joint.sizes), target)
            is_same &= traces.same_amounts(amounts, self._load(ring.amounts.take(flat, 0)), self._agreement)
        return is_same.all(-1).view(place.shape)

    def _gradient_step(self, drawn: JointDraw, rewards: Tensor) -> Tensor:
        """Do a gradient step with this learner's part of a minibatch, and set the priorities."""
        assert self.replay is not None
        n_rows, n_learners, rank = self.values.minibatch_steps, compat.n_data_parallel(), compat.rank()
        part = slice(rank * n_rows // n_learners, (rank + 1) * n_rows // n_learners)
        errors = self.joint_update.step(self._transitions(drawn, rewards, part), n_rows, part)
        if self.values.priority_alpha:
            own: F8 = errors.double().cpu().numpy()
            everyone = np.concatenate(compat.gather_objects(own))
            self.replay.prioritise(drawn.place, everyone + LEAST_PRIORITY)
        return errors

    def _transitions(self, drawn: JointDraw, rewards: Tensor, part: slice) -> Transitions:
        """Return this learner's part of the drawn transitions on its device, with the rewards (R, L, N) of steps."""
        assert self.replay is not None
        ring, joint = self.replay.ring, self.joint
        place, behind = drawn.place[part], drawn.behind[part]
        discount = self._load(drawn.discount[part])
        rewards = rewards[part] * self.values.reward_scale
        returns = (self._load(drawn.step_weight[part]).unsqueeze(-1) * rewards).sum(1)
        return Transitions(
            now=self._situation(place),
            mask=self._load(ring.mask.take(place, 0)),
            decisions=self._decisions(place),
            returns=joint.to_unit_scale(returns, discount),
            discount=discount,
            weight=self._load(drawn.weight[part]),
            behind=self._situation(behind),
            behind_mask=self._load(ring.mask.take(behind, 0)),
            path=self._path(drawn, rewards, part) if self.values.n_step_rule == "retrace" else (),
        )

    def _path(self, drawn: JointDraw, rewards: Tensor, part: slice) -> list[Step]:
        """Return the steps of this learner's transitions one by one, with rewards (R, L, N) in units of reward."""
        assert self.replay is not None
        ring, steps = self.replay.ring, walk(drawn)
        path = []
        for j in range(drawn.step_place.shape[1]):
            place, behind = drawn.step_place[part, j], steps.behind[part, j]
            discount = self._load(steps.discount[part, j])
            path.append(
                Step(
                    now=self._situation(place),
                    mask=self._load(ring.mask.take(place, 0)),
                    target=self._load(ring.target.take(place, 0)),
                    amounts=self._load(ring.amounts.take(place, 0)),
                    logp=self._load(ring.logp.take(place, 0)),
                    decisions=self._decisions(place),
                    reward=self.joint.to_unit_scale(rewards[:, j], discount),
                    discount=discount,
                    is_alive=self._load(steps.is_alive[part, j]),
                    behind=self._situation(behind),
                    behind_mask=self._load(ring.mask.take(behind, 0)),
                )
            )
        return path

    def _situation(self, place: I8) -> Situation:
        assert self.replay is not None
        ring = self.replay.ring
        observation = self.joint.scaled(self._load(ring.observation.take(place, 0)))
        return Situation(observation, self._load(ring.state.take(place, 0)) if ring.state.shape[1] else None)

    def _decisions(self, place: I8) -> Tensor:
        """Return the decisions at places as critics see them."""
        assert self.replay is not None
        ring = self.replay.ring
        target, amounts = (self._load(column.take(place, 0)) for column in (ring.target, ring.amounts))
        return self.values.seen_decisions(target, amounts, self.joint.sizes)

    def _rewards(self, drawn: Sequence[JointDraw]) -> Sequence[Tensor]:
        """Return the rewards (R, L, N) of the steps of minibatches, with the reward terms as they are now.

        All of them at once: terms stay as they are until the next rollouts, and small batches are dear.
        """
        assert self.replay is not None
        ring, n_steps = self.replay.ring, drawn[0].step_place.shape[1]
        place = np.concatenate([each.step_place.reshape(-1) for each in drawn])
        reward = self._load(ring.reward.take(place, 0))
        if self.reward_terms:
            batch = JointBatch(
                self._load(ring.observation.take(place, 0)),
                self._load(ring.state.take(place, 0)) if ring.state.shape[1] else None,
                self._load(ring.target.take(place, 0)),
                self._load(ring.amounts.take(place, 0)),
            )
            reward = reward + sum(term.bonus(batch, reward) for term in self.reward_terms)
        parts: tuple[Tensor, ...] = reward.view(-1, n_steps, reward.shape[-1]).chunk(len(drawn))
        return parts

    def _load(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _networks(self) -> Networks:
        joint = self.joint
        policy_copy = joint.policy if joint.policy_copy is None else joint.policy_copy
        return Networks(joint.policy, list(joint.critics), policy_copy, list(joint.critic_copies))

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {name.removeprefix(f"{JOINT}_"): optimizer for name, optimizer in self._named_optimizers.items()}

    def _sum_gradients(self) -> Any:
        def total(gradients: Sequence[Tensor]) -> None:
            compat.sum_over_learners(list(gradients))

        return total if self.config.num_learners > 1 else None

    def _log(self, errors: Tensor | None) -> None:
        """Log figures of the latest gradient step; earlier ones would each wait for the device."""
        assert self.replay is not None
        figures = (
            {name: float(value) for name, value in self.joint_update.figures.items()} if errors is not None else {}
        )
        if errors is not None:
            figures["td_error_abs_mean"] = float(errors.mean()) * float(self.joint.value_std)
            figures["q_mean"] = figures["q_mean"] * float(self.joint.value_std) + float(self.joint.value_mean)
            self.log_terms()
        figures |= {
            "replay_steps": self.replay.n_ready,
            "gradient_steps": self.joint_update.n_steps,
            "transition_steps_mean": self._mean_steps,
            "epsilon": float(self.joint.epsilon),
            "noise_std": float(self.joint.noise_std),
        }
        self.metrics.log_dict(figures, key=JOINT, window=1)

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return RLlib's state, counters, generators and, if the config says so, what the replay holds."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if compat.wants(self, COMPONENT_REPLAY, components, not_components):
            contents = self._saved if self.replay is None else self.replay.get_state()
            state[COMPONENT_REPLAY] = {
                "owed_updates": self._owed_updates,
                "n_steps": self.joint_update.n_steps,
                "keeps_value_scale": self.keeps_value_scale,
                "draws": self._draws.bit_generator.state,
                "noise": self._noise.get_state().numpy().copy(),
                "contents": contents if self.values.save_replay else None,
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a state; without the replay's contents learning begins again after a warm-up."""
        super().set_state(state)
        if COMPONENT_REPLAY in state:
            saved = state[COMPONENT_REPLAY]
            self._owed_updates, self.joint_update.n_steps = saved["owed_updates"], saved["n_steps"]
            self.keeps_value_scale = saved.get("keeps_value_scale", False)
            self._draws.bit_generator.state = saved["draws"]
            self._noise.set_state(torch.from_numpy(np.array(saved["noise"])))
            self._saved, self.replay = saved["contents"], None
