"""The matching world: learning at its smallest."""
