"""The legend of array axes: one letter, or two, has one meaning everywhere.

The order is always time, world, entity, attribute, so ``(T, B, N, F)``. A loop index is its axis in lower case.
"""

AXES: dict[str, str] = {
    "B": "worlds of a batch",
    "N": "agents: nodes that decide",
    "M": "nodes",
    "K": "targets of an agent; 0 is the agent's own node",
    "D": "decisions of an agent in one step",
    "Q": "places of a node's queue",
    "L": "directed links",
    "C": "channels: transmissions on one channel queue for it, or share it",
    "P": "task slots of a world: tasks that can be alive at once",
    "A": "arrivals of an episode",
    "H": "hops of a task's path",
    "U": "distinct lags of reports",
    "R": "slots of report history",
    "T": "time steps of a fragment",
    "F": "features of an agent's observation",
    "S": "features of the global state",
    "G": "metric sums of a world",
    "Z": "rows of a task log",
    "W": "columns of a task log",
    "O": "objectives: terms of a reward",
    "X": "the two coordinates of a position",
    "E": "events of a world that can be to come at once",
    "Y": "lists of events: places in the order of a slot, and slots to come",
    "V": "machines of a cloud",
    "J": "types of tasks",
    "I": "pieces of a schedule",
    "Se": "edge servers of a MEC world",
    "Ds": "sets of the devices of a MEC world",
    "Le": "levels of the share that is sent",
    "Am": "amounts: the continuous parts of a decision",
}
