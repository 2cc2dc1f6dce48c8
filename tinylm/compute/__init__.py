"""What runs the arithmetic: device, memory, processes, signals, counter-based randomness."""
