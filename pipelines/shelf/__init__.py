"""The checkpoints that are here, and those of the hub."""
