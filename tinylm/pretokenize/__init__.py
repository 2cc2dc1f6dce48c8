"""Stage pretokenize: stories to streams of ids."""
