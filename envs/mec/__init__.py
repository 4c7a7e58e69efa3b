"""Mobile edge computing: devices choose a server and the share of a task that runs there (the ExplabOff family)."""
