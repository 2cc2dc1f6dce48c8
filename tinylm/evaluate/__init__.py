"""Stage evaluate: score the whole validation split."""
