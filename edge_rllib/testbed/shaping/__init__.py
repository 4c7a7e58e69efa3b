"""Slower links and processors than the machine has, in three tiers behind one interface.

0: in user space, without any right. 1: with quotas of control groups. 2: also with network namespaces and the kernel's
queues.
"""
