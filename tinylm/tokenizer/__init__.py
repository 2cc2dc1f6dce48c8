"""`artifacts/tokenizer`: loading a tokenizer, and its end-of-text id."""
