"""RLModules and the models they are built from."""
