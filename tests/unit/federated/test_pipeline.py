"""Pipelines of aggregation are read from text, and what cannot be meant is refused."""

from __future__ import annotations

import pytest
import torch

from edge_rllib.federated.pipeline import pipeline
from edge_rllib.ops.aggregation.base import Received
from edge_rllib.ops.aggregation.clipping import CentredClipping, Clip
from edge_rllib.ops.aggregation.coordinates import TrimmedMean
from edge_rllib.ops.aggregation.nearest import Bucketing, Nnm
from envs.errors import ConfigError, UnknownName


def test_parts_are_applied_from_left_to_right() -> None:
    # clipped to 1, 2, 3, 4, 4; nnm takes the 4 nearest: 2.5, 2.5, 3.25, 3.25, 3.25; without the ends 9 / 3
    vectors = torch.tensor([[1.0], [2.0], [3.0], [4.0], [100.0]], dtype=torch.float64)

    parts = pipeline("clip(arc) > nnm > trimmed_mean")

    assert [type(part) for part in (*parts.pre_rules, parts.rule)] == [Clip, Nnm, TrimmedMean]
    assert parts(Received(vectors, 1)).item() == pytest.approx(3.0)


def test_values_stand_in_parentheses() -> None:
    parts = pipeline("clip(how=radius, radius=2.5)>bucketing(3) > centred_clipping( radius = 2, n_steps=3 )")

    assert parts.pre_rules == [Clip("radius", 2.5), Bucketing(3)]
    assert parts.rule == CentredClipping(2.0, 3)


def test_the_check_counts_buckets() -> None:
    parts = pipeline("bucketing(2) > krum")

    parts.check(13, 2)  # 7 buckets, as many as krum needs
    with pytest.raises(ConfigError, match=r"krum: n = 6 clients .* f = 2"):
        parts.check(12, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("geometric_medain", "did you mean 'geometric_median'"),
        ("nn > mean", "did you mean 'nnm'"),
        ("mean > nnm", "mean is a aggregator; expected it behind all '>'"),
        ("nnm", "nnm is a pre_aggregator; expected it in front of '>'"),
        ("", "'' is no name"),
        ("nnm > > mean", "'' is no name"),
        ("clip(arc > mean", "'clip\\(arc' is no name"),
        ("clip(ark) > mean", "expected one of 'arc', 'radius', got 'ark'"),
        ("clip(arc, arc) > mean", "'arc'; expected values of how, radius"),
        ("clip(arc, how=arc) > mean", "how is given twice"),
        ("clip(radius=a) > mean", "a number"),
        ("mean(3)", "'3'; expected no values"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises((ConfigError, UnknownName), match=message):
        pipeline(text)


@pytest.mark.parametrize("rule", ["mean", "nnm > trimmed_mean", "clip(arc) > nnm > geometric_median", "meamed"])
def test_an_aggregate_has_the_type_of_the_vectors_whatever_that_of_the_weights(rule: str) -> None:
    vectors = torch.arange(15, dtype=torch.float32).reshape(5, 3)
    weights = torch.ones(5, dtype=torch.float64)

    found = pipeline(rule)(Received(vectors, 1, weights))

    assert found.dtype == torch.float32
