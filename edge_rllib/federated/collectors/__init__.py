"""Collectors: where the chunks of a round are executed, and by whom."""
