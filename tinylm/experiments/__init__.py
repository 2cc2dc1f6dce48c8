"""DVC experiments: read them, run sweeps of them, compare and review them."""
