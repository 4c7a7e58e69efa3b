"""Rules: decisions without learning, one rule a file. What learning has to beat."""
