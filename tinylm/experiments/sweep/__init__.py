"""Sweeps: many DVC experiments over ranges of parameters, by grid, random or guided search."""
