"""Report disk usage and free space."""
