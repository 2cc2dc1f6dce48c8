"""`tinylm export`: write a model in the format of another program."""
