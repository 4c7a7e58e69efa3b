"""Wireless links as small pure functions on arrays."""
