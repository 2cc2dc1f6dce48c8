"""Metrics of stories."""
