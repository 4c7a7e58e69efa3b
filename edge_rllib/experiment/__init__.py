"""Runs from settings to results: build, fit, watch, evaluate, save; searches; clusters."""
