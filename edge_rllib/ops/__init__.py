"""Mathematics of learning in pure torch, time first; knows no Ray."""
