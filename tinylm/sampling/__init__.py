"""Stories drawn from a model: KV cache, sampling, streaming."""
