"""tinylm: small language models on TinyStories, from raw text to stories, reproducible to the byte."""
