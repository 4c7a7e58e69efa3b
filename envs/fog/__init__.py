"""Networks of nodes with queues: multi-hop offloading (the PeersimGym family)."""
