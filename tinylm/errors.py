"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """A mistake that a user can mend: says what, expected, got and the remedy; shown without a traceback."""
