"""`artifacts/model`: the transformer, its loss, and the Hugging Face folder that holds it."""
