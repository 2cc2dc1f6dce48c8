"""Stage train: a run, its steps, its optimizers, and what it can resume from."""
