"""Optimizers, which weights each updates, and the learning rate."""
