"""Worlds behind other interfaces: PettingZoo's parallel environment, Gymnasium's environment and vector environment."""
