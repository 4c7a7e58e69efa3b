"""Algorithms: configs, Learners with their losses, and the training step."""
