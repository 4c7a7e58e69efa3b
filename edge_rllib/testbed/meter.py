"""What is measured of a task: when each thing happened, where its time went, what it used, whether it was right.

All times are seconds of the scenario since the device heard of its first epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edge_rllib.testbed.lanes import StageTime

Place = Literal["device", "server"]
LOCAL = 0  # target of a task that its device does


@dataclass(frozen=True)
class StageRecord:
    """One stage of a task."""

    name: str
    place: Place
    start_s: float
    end_s: float
    cpu_s: float  # seconds of a whole core
    n_bytes: int  # of what came out


@dataclass(frozen=True)
class TaskRecord:
    """One task from its creation to its end."""

    device: int
    epoch: int
    target: int  # that was decided on: 0 the device, k server k - 1
    cut: int  # stages that the device was to do before the upload; 4 for all
    n_frames: int
    raw_bytes: int  # of the clip as the camera delivers it
    sent_bytes: int  # uploaded in the end; 0 for none
    created_s: float
    decided_s: float
    upload_start_s: float | None  # first byte sent; None where nothing was uploaded
    upload_end_s: float | None  # last byte received by the server
    result_s: float | None  # end of the task; None: in flight when the run ended
    deadline_s: float  # after creation
    done_by: Literal["device", "server", "nobody"]
    fallback: str  # why the device began the work that a server should have done; empty: it did not
    stages: tuple[StageRecord, ...]  # that led to the result
    upload_s: float  # parts of the response time, which they add up to
    wait_s: float  # for a decision, a lane, the link, or a server that did not answer
    service_s: float
    return_s: float
    hits: int  # faces that were found
    misses: int
    false_alarms: int

    @property
    def response_s(self) -> float | None:
        """Return the time from creation to the end; None for a task in flight."""
        return None if self.result_s is None else self.result_s - self.created_s

    @property
    def is_late(self) -> bool:
        """Return whether the task missed its deadline, or was not done at all."""
        return self.response_s is None or self.response_s > self.deadline_s

    def as_json(self) -> dict[str, Any]:
        """Return plain values, with what follows from them."""
        return {**asdict(self), "response_s": self.response_s, "is_late": self.is_late}


def record_of(fields: dict[str, Any]) -> TaskRecord:
    """Return the record that a device has sent as plain values."""
    return TaskRecord(**{**fields, "stages": tuple(StageRecord(**row) for row in fields["stages"])})


def parts(
    created_s: float, result_s: float, upload: tuple[float, float] | None, stages: Sequence[StageRecord]
) -> tuple[float, float, float, float]:
    """Return upload, wait, service and return time of a task; they add up to its response time.

    ``upload`` is (start, end) of the upload that led to the result, None if the device did everything itself. The way
    back begins when the server has done its last stage.
    """
    service_s = sum(stage.end_s - stage.start_s for stage in stages)
    if upload is None:
        return 0.0, result_s - created_s - service_s, service_s, 0.0
    upload_s = upload[1] - upload[0]
    done_s = max((stage.end_s for stage in stages if stage.place == "server"), default=upload[1])
    return_s = result_s - done_s
    return upload_s, result_s - created_s - service_s - upload_s - return_s, service_s, return_s


def stage_records(
    stages: Sequence[StageTime], place: Place, start_s: float, offset_s: float, scale: float
) -> list[StageRecord]:
    """Return stages as records: times minus the clocks' offset, since ``start_s``, in seconds of the scenario."""
    return [
        StageRecord(
            stage.name,
            place,
            (stage.start_s - offset_s - start_s) / scale,
            (stage.end_s - offset_s - start_s) / scale,
            stage.cpu_s,
            stage.n_bytes,
        )
        for stage in stages
    ]
