"""Shared by every stage: parameters, one-line errors, atomic file writes."""
