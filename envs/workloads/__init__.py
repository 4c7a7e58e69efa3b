"""Workloads: which tasks arrive, how large, and due when."""
