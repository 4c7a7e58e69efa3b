"""ExplabOff's released estimators: values, losses and one gradient step, recorded from its code on a batch of 64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_rllib.ops.mutual_information.base import EstimatorParams, Layout
from edge_rllib.ops.mutual_information.club import Club
from edge_rllib.ops.mutual_information.density import LOG_TWO_PI
from edge_rllib.ops.mutual_information.jsd import Jsd

RECORDED = dict(np.load(Path(__file__).parent / "data" / "explaboff_update_golden.npz"))
LEARNING_RATE = 1e-4
N_DIMS = 6
RELEASED = {
    "critic": "separable",
    "critic_hidden": (),
    "density_hidden": (32,),
    "n_embedding": 32,
    "is_embedding_rectified": True,
    "n_negatives": 1023,
    "clip": 5.0,
    "average_rate": 0.01,
    "log_variance_bound": 1.0,
}


def recorded(name: str) -> Tensor:
    return torch.from_numpy(RECORDED[name])


def layers(estimator: Any) -> dict[str, nn.Linear]:
    """Return our layers by the recorded names."""
    if isinstance(estimator, Jsd):
        pairs: Any = estimator.critic.pairs
        return {"mine_l1": pairs.embed_x[0], "mine_l2": pairs.embed_y[0]}
    density = estimator.density
    heads = {"club_p_mu": density.mean, "club_p_logvar": density.log_variance}
    return {f"{name}.{i}": head[i] for name, head in heads.items() for i in (0, 2)}


def released(cls: Any) -> Any:
    estimator = cls(EstimatorParams(**RELEASED), 48, Layout(3, 0, 2))
    for name, layer in layers(estimator).items():
        layer.load_state_dict({part: recorded(f"w_{name}.{part}") for part in ("weight", "bias")})
    return estimator


def largest_error_after_a_step(estimator: Any) -> float:
    optimizer = torch.optim.Adam(estimator.parameters(), lr=LEARNING_RATE)
    estimator.loss(recorded("state"), recorded("joint_action_decoded")).backward()
    optimizer.step()
    after = [
        (getattr(layer, part).detach(), recorded(f"after_{name}.{part}"))
        for name, layer in layers(estimator).items()
        for part in ("weight", "bias")
    ]
    assert len(after) >= 4
    assert sum(tensor.numel() for tensor, _ in after) == sum(p.numel() for p in estimator.parameters())
    return max(float((ours - theirs).abs().max()) for ours, theirs in after)


def test_jsd_has_the_recorded_values_and_step() -> None:
    estimator = released(Jsd)
    with torch.no_grad():
        values = estimator.values(recorded("state"), recorded("joint_action_decoded"))

    assert values.tolist() == pytest.approx((-recorded("jsd_loss")).tolist(), abs=2e-6)
    assert largest_error_after_a_step(estimator) < LEARNING_RATE / 200


def test_club_has_the_recorded_values_loss_and_step() -> None:
    estimator = released(Club)
    with torch.no_grad():
        values = estimator.values(recorded("state"), recorded("joint_action_decoded"))
        loss = estimator.loss(recorded("state"), recorded("joint_action_decoded")).item()

    assert values.tolist() == pytest.approx(recorded("club").tolist(), abs=1e-5)
    # the released loss is twice the negative log likelihood without its constant, log(2 pi) / 2 a dimension
    assert 2.0 * loss - N_DIMS * LOG_TWO_PI == pytest.approx(float(RECORDED["club_negloglik"]), abs=1e-5)
    assert largest_error_after_a_step(estimator) < LEARNING_RATE / 200
