"""Hardware and processes: devices, memory, distributed training, signals, counter-based random numbers."""
