"""What can go wrong with a push, in one line each, with a remedy."""

from collections.abc import Iterator

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from tinylm.base.errors import UserError, one_line, shorten

LONGEST_REASON = 120  # characters quoted from the Hub or a library
TOKENS = "/settings/tokens"  # the Hub's page for tokens
RETRY_STATUS = (408, 429)  # and every status from 500: problems of the server, which pass


def no_token() -> UserError:
    """Return the error of a user who has not logged in."""
    return UserError(
        f"the Hub needs a token, and there is none; make one that may write, at {constants.ENDPOINT}{TOKENS}, then run "
        "`hf auth login`, or set HF_TOKEN"
    )


def invalid_token() -> UserError:
    """Return the error of a token that the Hub does not know."""
    return UserError(
        f"{constants.ENDPOINT} does not accept the token; make a new one at {constants.ENDPOINT}{TOKENS}, then run "
        "`hf auth login`, or set HF_TOKEN"
    )


def may_not_write(repository: str, user: str, reason: str) -> UserError:
    """Return the error of a user, or a token, without the right to write to the repository."""
    return UserError(
        f"{repository}: {user} may not write there with this token ({shorten(reason, LONGEST_REASON)}); name another "
        f"repository, or make a token that may write, at {constants.ENDPOINT}{TOKENS}"
    )


def explain(error: Exception, repository: str, user: str | None) -> UserError:
    """Return the error to show for a failed request, or for what huggingface_hub raised because of one.

    `user` is None as long as the Hub has not answered.
    """
    status = next((each.response.status_code for each in _causes(error) if isinstance(each, HfHubHTTPError)), None)
    reason = shorten(one_line(_reason(error)), LONGEST_REASON)
    if status == 401:
        return invalid_token()
    if status in (403, 404) and user:
        return may_not_write(repository, user, reason)
    if status is not None and status < 500 and status not in RETRY_STATUS:
        return UserError(f"{repository}: {constants.ENDPOINT} refuses the push ({reason}); fix that and push again")
    if user is None:
        return UserError(f"cannot reach {constants.ENDPOINT} ({reason}); check the network and HF_ENDPOINT")
    return UserError(
        f"{repository}: the push was interrupted ({reason}); run the same command again: what has arrived is not sent "
        "again"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from, the first cause last."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _reason(error: Exception) -> str:
    """Return the text of an error, with its cause if it was raised in a thread of an upload."""
    cause = error.__cause__ if isinstance(error, RuntimeError) else None
    return f"{error} {cause}" if cause else str(error) or type(error).__name__
