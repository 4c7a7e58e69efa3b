"""Mutual information between state and decisions: estimators, buffers that they learn from, weights of the reward."""
