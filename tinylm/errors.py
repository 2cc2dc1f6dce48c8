"""How a stage ends other than well, without a traceback."""


class UserError(Exception):
    """A mistake that a user can mend: says what, expected, got and the remedy."""


class StoppedError(Exception):
    """The run was asked to stop by a signal, and did; it ends as a program does that the signal ended."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number
