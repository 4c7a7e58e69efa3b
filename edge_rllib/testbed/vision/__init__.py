"""Real work: faces are found in clips, in stages whose payload falls, so that a task can be cut after any of them."""
