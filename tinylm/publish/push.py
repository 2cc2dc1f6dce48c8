"""Send files to a repository on the Hugging Face Hub, in one commit; those that it has already are not sent.

huggingface_hub first stores large files, by their checksum (LFS) or in chunks (Xet), and then makes the commit. A
repeated push finds there what an interrupted one has stored.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo, RepoFile
from huggingface_hub.utils._validators import validate_repo_id
from huggingface_hub.utils.sha import git_hash
from huggingface_hub.utils.tqdm import disable_progress_bars

from tinylm.base.atomic import sha256
from tinylm.base.errors import UserError, quote
from tinylm.download.hub import CONNECTION_ERRORS
from tinylm.publish.contents import Upload
from tinylm.publish.refusals import explain, may_not_write, no_token

# What huggingface_hub raises for failed requests, in its threads, by Xet's library, and for answers of no Hub.
UPLOAD_ERRORS: tuple[type[Exception], ...] = (*CONNECTION_ERRORS, RuntimeError, ValueError, LookupError, TypeError)


def check_name(repository: str) -> None:
    """Raise UserError if `repository` is not a name on the Hub."""
    try:
        validate_repo_id(repository)
    except HFValidationError:
        valid = False
    else:
        valid = repository.count("/") == 1
    if not valid:
        raise UserError(
            "expected the name of a repository, as in julia/stories (of letters, digits, -, _ and .), got "
            f"{quote(repository)}"
        )


def address(repository: str) -> str:
    """Return the URL of a repository."""
    return f"{constants.ENDPOINT}/{repository}"


class Push:
    """One push to `repository`; `say` shows a line to the user."""

    def __init__(self, repository: str, say: Callable[[str], None]):
        self.repository, self.say = repository, say
        if (token := get_token()) is None:
            raise no_token()
        self.api = HfApi(endpoint=constants.ENDPOINT, token=token)
        self.user: str | None = None  # until the Hub has said
        if not sys.stderr.isatty():
            disable_progress_bars()

    def run(self, uploads: Sequence[Upload], private: bool) -> None:
        """Create the repository if there is none, and send what it does not have.

        Raises UserError for a token that is invalid or may not write, a public repository where `private` is asked for,
        a Hub that is out of reach or refuses a file, and an interrupted upload.
        """
        self._check_token()
        with self._explaining():
            self._open(private)
            there = {file.path: file for file in self._files()}
        changed = [upload for upload in uploads if not _is_there(upload, there.get(upload.name))]
        if not changed:
            self.say(f"{self.repository} has all of these files already; nothing was sent")
            return
        if same := len(uploads) - len(changed):
            self.say(f"{same} of {len(uploads)} files are there already; sending {', '.join(u.name for u in changed)}")
        with self._explaining(), self._showing_warnings():
            commit = self.api.create_commit(
                self.repository,
                [CommitOperationAdd(upload.name, upload.content) for upload in changed],
                commit_message=f"Upload {len(changed)} files with tinylm push",
            )
        self.say(f"sent: {commit.commit_url}")

    def _check_token(self) -> None:
        """Find out who the user is. Raises UserError if the token is invalid or may only read."""
        with self._explaining():
            found = self.api.whoami()
            self.user = str(found["name"])
        if found.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise may_not_write(self.repository, self.user, "it may only read")

    def _open(self, private: bool) -> None:
        """Create the repository if there is none. Raises UserError if it is public against the user's wish."""
        try:
            info, new = self._info(), ""
        except RepositoryNotFoundError:
            self.api.create_repo(self.repository, private=private or None, exist_ok=True)
            info, new = self._info(), "new, "
        if private and not info.private:
            raise UserError(
                f"{self.repository}: --private expected a private repository, got a public one; change it at "
                f"{address(self.repository)}/settings, or leave out --private"
            )
        self.say(f"{self.repository} is {new}{'private' if info.private else 'public'}")

    def _info(self) -> ModelInfo:
        return self.api.model_info(self.repository)

    def _files(self) -> Iterator[RepoFile]:
        return (file for file in self.api.list_repo_tree(self.repository) if isinstance(file, RepoFile))

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except UPLOAD_ERRORS as error:
            if isinstance(error, OSError) and error.filename:
                raise  # a file of this machine
            raise explain(error, self.repository, self.user) from error

    @contextmanager
    def _showing_warnings(self) -> Iterator[None]:
        """Show the Hub's warnings, such as those about a card, as lines; huggingface_hub's own are for programmers."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            yield
        for warning in caught:
            self.say(f"warning: {' '.join(str(warning.message).split())}")


def _is_there(upload: Upload, file: RepoFile | None) -> bool:
    """Return whether the repository has this file with this content."""
    if file is None or file.size != upload.size:
        return False
    if file.lfs and not isinstance(upload.content, bytes):
        return sha256(upload.content) == file.lfs.sha256
    content = upload.content if isinstance(upload.content, bytes) else upload.content.read_bytes()
    return git_hash(content) == file.blob_id
