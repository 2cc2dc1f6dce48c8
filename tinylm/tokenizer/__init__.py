"""`artifacts/tokenizer`: load a tokenizer, and look up its end-of-text id."""
