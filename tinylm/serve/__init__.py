"""A page on this machine, on which one types a beginning and reads the story while it is written."""
