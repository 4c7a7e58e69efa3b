"""The fog world with the exact slot semantics of PeersimGym, each of its peculiarities a switch of its own."""
