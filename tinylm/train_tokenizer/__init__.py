"""Stage train_tokenizer."""
