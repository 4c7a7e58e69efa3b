"""Numbers with a unit and a source that more than one module needs."""

LOCAL = 0  # target index of the agent's own node
PADDING = -1  # id that stands for "none"
BITS_PER_BYTE = 8.0
BITS_PER_KILOBYTE = 8_000.0  # SI kilobyte
EVALUATION_WORLD_ID = 2**31  # world ids from here on are never trained on

TIER_DEVICE, TIER_EDGE, TIER_CLOUD = 0, 1, 2
TIER_NAMES = ("device", "edge", "cloud")
OBSERVATION_LIMIT = 1.0  # every feature of an observation and every entry of a global state lies in [-1, 1]
