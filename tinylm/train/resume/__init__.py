"""Resume an interrupted run bit for bit: its resume checkpoints, run key, lock and pruning."""
