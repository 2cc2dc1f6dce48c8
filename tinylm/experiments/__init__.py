"""DVC's experiments: reading, sweeping, comparing, reviewing."""
