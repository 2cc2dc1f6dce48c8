"""The page of a run: one HTML file that needs nothing else, put together from what the stages left."""
