"""What Tune pickles of a search survives what Ray does to the process."""

from __future__ import annotations

import builtins
import inspect

import pytest
from ray import cloudpickle

from edge_rllib.experiment.tuning import TrialLog, search


def test_what_tells_the_user_is_pickled_even_when_ray_has_replaced_print(monkeypatch: pytest.MonkeyPatch) -> None:
    note = inspect.signature(search).parameters["note"].default
    original = builtins.print
    monkeypatch.setattr(builtins, "print", lambda *values: original(*values))  # as ray.experimental.tqdm_ray does

    cloudpickle.loads(cloudpickle.dumps(TrialLog("response_time_s_mean", note)))

    with pytest.raises(Exception, match="not the same object"):
        cloudpickle.dumps(TrialLog("response_time_s_mean", original))
