"""The same decisions on real processes: devices, edge servers and shaped links that do real vision work.

One process a device, one an edge server, one for the links; ``run.py`` starts them and judges what they measured.
Needs the extra ``testbed``.
"""
