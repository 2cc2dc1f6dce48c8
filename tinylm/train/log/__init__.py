"""What a run records: CSV rows, trackers, the loss curve, a diagnosis and live samples."""
