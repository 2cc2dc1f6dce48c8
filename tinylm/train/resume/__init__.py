"""Going on after a break, bit for bit: the saved runs, their key, their lock, their pruning."""
