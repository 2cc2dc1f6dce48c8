"""Publish a model on the Hugging Face Hub: what is sent, how it is sent, and what can go wrong."""
