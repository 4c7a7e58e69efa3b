"""What the controller sees before it decides, and what a policy is shown of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np

from edge_rllib.testbed.vision.stages import N_STAGES
from envs.arrays import BOOL, F4, F8

BITS_SCALE = 1e7  # a clip of some raw frames has some ten million bits


class Sight(NamedTuple):
    """Measured by devices and servers at the beginning of an epoch; N devices, M servers, seconds of the scenario."""

    n_frames: Annotated[F8, "N", "frames of the new task"]
    payload_bits: Annotated[F8, "N 4", "of the new task at each cut: raw, then after each stage but the last"]
    local_backlog_s: Annotated[F8, "N", "expected time until the device's lane is free"]
    local_service_s: Annotated[F8, "N", "expected time of the new task on the device"]
    server_backlog_s: Annotated[F8, "M", "expected time until the server is free"]
    server_service_s: Annotated[F8, "N M", "expected time of the new task on each server"]
    rate_bps: Annotated[F8, "N M", "moving average of measured upload rates"]
    is_up: Annotated[BOOL, "N M", "the server is there and the link worked last time"]
    deadline_s: float

    @property
    def target_mask(self) -> BOOL:
        """Return the targets that may be chosen, (N, M + 1); the device itself always may."""
        return np.concatenate([np.ones((len(self.n_frames), 1), np.bool_), self.is_up], 1)


SEEN = tuple(name for name in Sight._fields if name != "deadline_s")  # of an epoch's row


def feature_names(n_servers: int) -> list[str]:
    """Return the names of the features of a device, in order."""
    own = ["local_backlog", "local_service", *(f"payload_{cut}" for cut in range(N_STAGES))]
    per_server = ("is_up", "upload", "backlog", "service")
    return [*own, *(f"server_{m}_{name}" for m in range(n_servers) for name in per_server)]


def observation(sight: Sight) -> F4:
    """Return the features of each device, (N, F): times over the deadline, payloads over 1e7 bits.

    The upload time of a server is that of the raw clip at the measured rate. ``feature_names`` has their order.
    """
    n_devices, n_servers = sight.rate_bps.shape
    own = np.column_stack([sight.local_backlog_s, sight.local_service_s]) / sight.deadline_s
    backlog_s = np.broadcast_to(sight.server_backlog_s, (n_devices, n_servers))
    upload_s = sight.payload_bits[:, :1] / sight.rate_bps
    times = np.stack([upload_s, backlog_s, sight.server_service_s], 2) / sight.deadline_s
    servers = np.concatenate([sight.is_up[:, :, None].astype(np.float64), times], 2).reshape(n_devices, -1)
    return np.concatenate([own, sight.payload_bits / BITS_SCALE, servers], 1).astype(np.float32)


def seen_of(sight: Sight) -> dict[str, Any]:
    """Return what was seen as an epoch's row keeps it."""
    return {name: getattr(sight, name).tolist() for name in SEEN}


def sight_of_row(row: Mapping[str, Any], deadline_s: float) -> Sight:
    """Return what an epoch's row has kept."""
    return Sight(**{name: np.array(row[name]) for name in SEEN}, deadline_s=deadline_s)
