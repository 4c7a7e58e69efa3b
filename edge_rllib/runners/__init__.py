"""Env runners: batches of worlds to rollouts, and the adapter for stock runners."""
