"""Text generation: sampling, batched and streaming decoding."""
