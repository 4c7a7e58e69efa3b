"""What the conformance check of rules must reject, each with its message."""

from dataclasses import dataclass

import numpy as np
import pytest

from envs.baselines.base import Choice, Rule, nth_allowed
from envs.testing import ConformanceError, check_baseline


@dataclass(frozen=True)
class LastAllowed(Rule):
    """Chooses the last allowed target."""

    flaw: str

    def decide(self, view, step, draws):
        mask = view.target_mask
        choice = nth_allowed(mask, mask.sum(axis=2) - 1)
        return getattr(self, f"with_{self.flaw}")(choice, view, step, draws)

    def with_nothing(self, choice, view, step, draws):
        return choice

    def with_int32(self, choice, view, step, draws):
        return choice.astype(np.int32)

    def with_list(self, choice, view, step, draws):
        return choice.tolist()

    def with_one_world(self, choice, view, step, draws):
        return choice[0]

    def with_masked(self, choice, view, step, draws):
        return np.where(view.has_task, choice, 1)

    def with_out_of_range(self, choice, view, step, draws):
        return np.where(view.has_task, 4, choice)

    def with_changed_view(self, choice, view, step, draws):
        view.wait_s[view.wait_s > 0.0] = 0.0
        return choice

    def with_changed_turns(self, choice, view, step, draws):
        draws.turns[:] += 1
        return choice

    def with_global_generator(self, choice, view, step, draws):
        return np.where(np.random.rand(*choice.shape) < 0.5, choice, 0)  # noqa: NPY002

    def with_chance_from_nowhere(self, choice, view, step, draws):
        return np.where(np.random.default_rng().random(choice.shape) < 0.5, choice, 0)

    def with_row_of_batch(self, choice, view, step, draws):
        return np.where(np.arange(len(choice))[:, None] == 0, 0, choice)


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("int32", r"LastAllowed: decide returned int32 \(3, 6\), expected int64 \(3, 6\)"),
        ("list", r"LastAllowed: decide returned list, expected int64 \(3, 6\)"),
        ("one_world", r"LastAllowed: decide returned int64 \(6,\), expected int64 \(3, 6\)"),
        ("masked", r"LastAllowed: agent \d goes to target 1, allowed are \[0\] \(it has no task\)"),
        ("out_of_range", r"LastAllowed: agent \d goes to target 4, allowed are \[0"),
        ("changed_view", r"LastAllowed: decide changed the view's wait_s; it belongs to the world"),
        ("changed_turns", r"LastAllowed: decide changed the turns of its draws; the player counts them"),
        ("global_generator", r"LastAllowed: draws from NumPy's global generator"),
        ("chance_from_nowhere", r"two calls with the same view, step and seed decide differently"),
        ("row_of_batch", r"decides differently for a world alone and in a batch"),
    ],
)
def test_check_baseline_rejects(flaw, message):
    with pytest.raises(ConformanceError, match=message):
        check_baseline(LastAllowed(flaw))


def test_check_baseline_accepts_the_rule_that_the_broken_ones_were_made_from():
    report = check_baseline(LastAllowed("nothing"))
    assert report.n_decisions > 500
    assert report.n_offloads > 500
    assert report.n_steps == 0


def test_check_baseline_rejects_what_is_no_rule():
    with pytest.raises(ConformanceError, match="function: expected a subclass of Rule"):
        check_baseline(lambda view, step, draws: 0)


@dataclass(frozen=True)
class SplitsBadly(Rule):
    """Sends half of each task to the first server, or something else."""

    flaw: str

    worlds = ("mec",)

    def decide(self, view, step, draws):
        target = view.target_mask[:, :, 1].astype(np.int64)
        share = np.full(target.shape, 0.5)
        return getattr(self, f"with_{self.flaw}")(target, share, view)

    def with_nothing(self, target, share, view):
        return Choice(target, share)

    def with_too_much(self, target, share, view):
        return Choice(target, np.where(target > 0, 1.2, share))

    def with_no_number(self, target, share, view):
        return Choice(target, np.where(target > 0, np.nan, share))

    def with_float32(self, target, share, view):
        return Choice(target, share.astype(np.float32))

    def with_one_share(self, target, share, view):
        return Choice(target, 0.5)

    def with_a_closed_server(self, target, share, view):
        return Choice(np.ones_like(target), share)

    def with_chance_from_nowhere(self, target, share, view):
        return Choice(target, np.random.default_rng().random(share.shape))

    def with_the_mean_of_the_batch(self, target, share, view):
        return Choice(target, np.full(share.shape, view.deadline_s.mean() / 10.0))


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("too_much", r"SplitsBadly: agent \d sends a share of 1\.2; expected one in \[0, 1\]"),
        ("no_number", r"SplitsBadly: agent \d sends a share of nan; expected one in \[0, 1\]"),
        ("float32", r"decide returned shares float32 \(3, 4\), expected float64 \(3, 4\)"),
        ("one_share", r"decide returned shares float, expected float64 \(3, 4\)"),
        ("a_closed_server", r"SplitsBadly: agent \d goes to target 1, allowed are \[0"),
        ("chance_from_nowhere", r"two calls with the same view, step and seed decide differently"),
        ("the_mean_of_the_batch", r"decides differently for a world alone and in a batch"),
    ],
)
def test_check_baseline_rejects_bad_shares(flaw, message):
    with pytest.raises(ConformanceError, match=message):
        check_baseline(SplitsBadly(flaw))


def test_check_baseline_accepts_the_splitting_rule_that_the_broken_ones_were_made_from():
    assert check_baseline(SplitsBadly("nothing")).n_offloads > 300
