"""Stage evaluate: the score of the whole validation split."""
