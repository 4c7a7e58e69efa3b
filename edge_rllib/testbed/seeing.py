"""Makes of what a testbed reports what a policy sees in its twin."""

from __future__ import annotations

from edge_rllib.testbed.sight import Sight
from envs.arrays import allocate
from envs.testbed.decode import n_targets
from envs.testbed.observe import BedView, feature_names
from envs.testbed.params import KINDS
from envs.testbed.state import N_CUTS
from envs.testbed.step import observe_reported
from envs.world import Outcome

_NONE = 0


class Seeing:
    """Room for one look after the other; ``out`` holds observation (1, N, F) and mask (1, N, K) of the last."""

    def __init__(self, kind: str, n_devices: int, n_servers: int, deadline_s: float) -> None:
        """Take the kind of decisions, which says how many targets there are."""
        self._kind, self._deadline_s = KINDS.index(kind), deadline_s
        n_choices = n_targets(kind, n_servers)
        sizes = {
            **dict.fromkeys(("D", "Am", "G", "S"), _NONE),
            "B": 1,
            "N": n_devices,
            "K": n_choices,
            "F": len(feature_names(n_choices)),
            "Se": n_servers,
            "St": N_CUTS,
        }
        self._view: BedView = allocate(BedView, sizes)
        self._view.has_task[:] = True
        self.out: Outcome = allocate(Outcome, sizes)

    def look(self, sight: Sight) -> None:
        """Write what is seen of a sight into ``out``, by the kernel that writes what is seen of the twin."""
        view = self._view
        for name in ("payload_bits", "local_backlog_s", "local_service_s", "server_backlog_s", "server_service_s"):
            getattr(view, name)[0] = getattr(sight, name)
        view.rate_bps[0], view.is_up[0] = sight.rate_bps, sight.is_up
        observe_reported(self.out, view, self._kind, self._deadline_s)
