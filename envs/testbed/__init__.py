"""The simulated twin of the testbed: the same queues, links, patience and reports, without the processes."""
