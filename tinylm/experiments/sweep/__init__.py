"""Sweeps: many DVC experiments over ranges of parameters, by grid, at random or guided by what was found."""
