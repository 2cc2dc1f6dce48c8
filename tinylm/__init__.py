"""tinylm: train small language models on TinyStories, from raw text to generated stories, reproducible to the byte."""
