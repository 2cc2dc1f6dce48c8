"""Trials as jobs of a cluster: one interface (jobs.py), and an implementation for each kind of cluster."""
