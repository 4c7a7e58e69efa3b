"""Scores worked out row by row are those of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edge_rllib.federated import scores as module_under_test
from edge_rllib.federated.perceptrons import perceptron
from edge_rllib.federated.scores import GraphScores, RowScores, scores
from edge_rllib.federated.vectors import load_vector, vector_of
from edge_rllib.runners.row_scores import log_prob_rows, score_rows

FOG, MEC = "fog_ring_8", "mec_2es_3md_v1"
GO_ON = {"scenario.params.on_miss": "go_on"}


def played(server: Any, n_episodes: int = 6, **changes: Any) -> tuple[Any, Any]:
    """Return a module with parameters that say something, and streams that it played."""
    client = server(**changes).clients[0]
    name = next(iter(client.groups))
    module = client.networks.now[name]
    vector = vector_of(module)
    noise = torch.randn(len(vector), generator=torch.Generator().manual_seed(2))
    load_vector(module, vector + 0.3 * noise)
    return module, client.play(0, n_episodes).streams[name]


@pytest.mark.parametrize(
    ("scenario", "over"),
    [
        ("cartpole_v1", {"model.activation": "tanh", "model.hidden": [7, 5, 3]}),
        ("cartpole_v1", {"model.activation": "relu"}),
        ("cartpole_v1", {"model.activation": "elu", "model.normalise_observation": True}),
        (FOG, {"scenario.params.horizon_slots": 20}),
        (MEC, {**GO_ON, "model.activation": "tanh"}),
        (MEC, {**GO_ON, "scenario.params.decision.kind": "box"}),
    ],
)
def test_rows_and_graph_agree(server, scenario, over):
    module, streams = played(server, scenario=scenario, over=over)
    weights = torch.randn(streams.reward.shape, generator=torch.Generator().manual_seed(3))
    weights[0] = 0.0

    found, expected = scores(module, streams), GraphScores(module, streams)

    assert isinstance(found, RowScores)
    np.testing.assert_allclose(found.logp, expected.logp, atol=2e-5)
    assert not found.logp[~streams.is_choice].any()
    one, other = found.gradient(weights), expected.gradient(weights)
    np.testing.assert_allclose(one, other, atol=1e-5 * float(other.abs().max()))
    assert float(other.norm()) > 0.1


def test_a_gradient_worked_out_by_hand(server):
    # one hidden unit h = tanh(w x + b), logits v h and 0: with pi(0) the first one's chance, the derivative of
    # log pi(a) by the gap of the logits is 1 - pi(0) for a = 0 and -pi(0) for a = 1; the gap's by v is h, by h it is v
    module, streams = played(server, 2, over={"model.activation": "tanh", "model.hidden": [1]})
    w, b, v = torch.tensor([0.5, -1.0, 2.0, 0.25]), 0.125, 1.5
    load_vector(module, torch.cat((w, torch.tensor([b, v, 0.0, 0.0, 0.0]))))
    expected = np.zeros(9)
    for t, e in streams.is_alive.nonzero().tolist():
        x = streams.observation[t, e].double().numpy()
        h = np.tanh(w.double().numpy() @ x + b)
        first = 1.0 / (1.0 + np.exp(-v * h))
        slope = (float(streams.target[t, e] == 0) - first) * (t + 1)  # by the gap of the logits, times the weight
        inner = slope * v * (1.0 - h * h)
        expected += [*(inner * x), inner, slope * h, -slope * h, slope, -slope]
    weights = (1.0 + torch.arange(len(streams.reward)))[:, None].expand(streams.reward.shape)

    found = scores(module, streams).gradient(weights)

    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_deviations_that_are_cut_have_no_slope(server):
    module, streams = played(server, scenario=MEC)
    with torch.no_grad():
        module.log_std.fill_(5.0)  # beyond what is allowed
    ones = torch.ones(streams.reward.shape)

    found, expected = (way.gradient(ones) for way in (scores(module, streams), GraphScores(module, streams)))

    assert found[: module.sizes.n_amounts].tolist() == [0.0] * module.sizes.n_amounts
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("changes", [{"model.activation": "silu"}, {"model": "target_mlp"}])
def test_other_models_have_a_graph(server, changes):
    module, streams = played(server, scenario=FOG, over={"scenario.params.horizon_slots": 20, **changes})

    assert isinstance(scores(module, streams), GraphScores)


def test_large_batches_and_double_numbers_have_a_graph(server, monkeypatch):
    module, streams = played(server)
    n_rows = int(streams.is_choice.sum())
    assert perceptron(module).n_parameters == 58
    for most, kind in ((58 * n_rows, RowScores), (58 * n_rows - 1, GraphScores)):
        monkeypatch.setattr(module_under_test, "MOST_BY_ROW", most)
        assert isinstance(scores(module, streams), kind)
    monkeypatch.undo()
    module.double()
    assert isinstance(scores(module, streams._replace(observation=streams.observation.double())), GraphScores)


@pytest.mark.parametrize("scenario", ["cartpole_v1", MEC])
def test_the_kernels_order_is_there_and_back(server, scenario):
    client = server(scenario=scenario, over={"model.hidden": [3, 5]}).clients[0]
    module = next(iter(client.networks.now.values()))
    policy, vector = perceptron(module), vector_of(module).numpy()

    assert sorted(policy.order()) == list(range(len(vector)))
    np.testing.assert_array_equal(vector[policy.order()], policy.packed())
    np.testing.assert_array_equal(policy.unpacked(policy.packed()), vector)


def test_kernels_are_compiled_for_one_set_of_types():
    for kernel in (log_prob_rows, score_rows):
        if hasattr(kernel, "signatures"):  # not where numba is switched off
            assert len(kernel.signatures) <= 1
