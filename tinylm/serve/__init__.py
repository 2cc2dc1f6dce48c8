"""A local web page: type a prompt and read the story while it is generated."""
