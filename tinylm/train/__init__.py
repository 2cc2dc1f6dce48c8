"""Stage train: the training run, its steps, its optimizers and its resume checkpoints."""
