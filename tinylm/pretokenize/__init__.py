"""Stage pretokenize: encode stories as streams of token ids."""
