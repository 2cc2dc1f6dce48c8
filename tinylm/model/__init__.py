"""`artifacts/model`: the transformer, its loss, and its folder in Hugging Face's layout."""
