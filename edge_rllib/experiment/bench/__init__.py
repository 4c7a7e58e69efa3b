"""Measurements of speed and memory: every figure beside what it is compared with, both taken in the same run."""
