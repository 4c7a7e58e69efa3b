"""Networks: the contract in topology.py, one builder a file, and what the builders share."""
