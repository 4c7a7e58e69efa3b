"""What the user of a PeersimGym configuration should know beside its values."""

from __future__ import annotations

from edge_rllib.reference.peersim_fields import Fields
from edge_rllib.reference.peersim_keys import WORKLOAD_PATH


def notes_of(fields: Fields, simtype: str) -> list[str]:
    """Return the warnings that depend on values: of keys that have an effect only from a size on, or in a mode."""
    raw, notes = fields.raw, _mode_notes(fields, simtype)
    for key in ("MINDELAY", "MAXDELAY"):
        if 0.0 < fields.number(key, 0.0) < 100.0:
            reason = "it is divided by 100 and cut to a whole number, so that less than 100 is nothing"
            notes.append(f"{raw.label}: {key} = {fields.text(key)} is without effect in PeersimGym: {reason}")
    grace = "protocol.wrk.maxTimeAfterDeadline"
    if grace in raw.given and not raw.is_rescaled:
        notes.append(
            f"{raw.label}: {grace} is without effect here: PeersimGym writes no such line, the grace is 5 slots"
        )
    if "protocol.urt.channelTypesBetweenLayers" not in raw.given:
        notes.append(
            f"{raw.label}: no protocol.urt.channelTypesBetweenLayers; read as the first of channelTypes everywhere. "
            "PeersimGym's default has 10 rows, and its simulator does not start unless there are 10 layers"
        )
    return notes


def _mode_notes(fields: Fields, simtype: str) -> list[str]:
    label = fields.raw.label
    if simtype == "basic-workload":
        notes = [
            f"{label}: PeersimGym draws the jobs of {WORKLOAD_PATH} without a seed, so that no run of it repeats; "
            "here they follow the world's seed. Each job is one task, and all come equally often at the rates of "
            "schedules: the arrivals of the trace and the order of a job's parts are left out, here as there"
        ]
        lists = [f"protocol.clt.{key}" for key in ("numberOfTasks", "weight", "CPI", "T", "I")]
        given = [key for key in lists if key in fields.raw.given]
        if given:
            keys = ", ".join(given)
            notes.append(f"{label}: left out: {keys} (PeersimGym's tasks are the jobs of {WORKLOAD_PATH} instead)")
        return notes
    if simtype == "batch":
        return [
            f"{label}: simtype = batch is read as decisions_per_step, the places of the largest queue of an agent: it "
            "decides on all its tasks in a step. PeersimGym copies the tasks that stay, and gives an agent to node 0 "
            "alone; the learners here take one decision a step (params.decisions_per_step = 1)"
        ]
    if WORKLOAD_PATH in fields.raw.given and fields.text(WORKLOAD_PATH).lower() != "none":
        return [f"{label}: {WORKLOAD_PATH} is without effect with simtype = basic; see --set simtype=basic-workload"]
    return []
