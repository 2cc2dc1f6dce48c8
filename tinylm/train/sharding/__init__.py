"""Models that do not fit into one device: weights, gradients and optimizer states sharded over the processes (FSDP)."""
