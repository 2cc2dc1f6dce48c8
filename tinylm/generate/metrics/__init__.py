"""Metrics of stories: lexical statistics, copies of training text, dialogue, pronouns."""
