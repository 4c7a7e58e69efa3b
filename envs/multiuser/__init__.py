"""World ``multiuser``: many users, one edge server, and channels on which who sends at once disturbs the others."""
