"""Collective training: sites that learn on their own worlds, and a population that shares policies and experience."""
