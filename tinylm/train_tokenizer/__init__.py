"""Stage train_tokenizer: train a BPE tokenizer, or take GPT-2's or one from a file."""
