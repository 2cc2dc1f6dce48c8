"""Scoring of text: sliding windows, loss per story, bits per byte, and confidence intervals."""
