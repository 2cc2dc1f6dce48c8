"""Where stories come from, and the corpus that they become."""
