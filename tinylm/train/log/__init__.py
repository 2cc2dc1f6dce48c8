"""What a run writes down: rows, trackers, the loss curve, a diagnosis, live samples."""
