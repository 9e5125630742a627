"""Names on the Hub, and its errors as sentences."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from convnext_dense.errors import UserError

PREFIX = "hf:"
LOG_IN = "log in with hf auth login, or set HF_TOKEN"
NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


def parse_name(source: str) -> tuple[str, str | None]:
    """Repository and revision of ``hf:owner/name`` or ``hf:owner/name@revision``.

    Raises:
        UserError: When it is no such name.
    """
    found = NAME.fullmatch(source.removeprefix(PREFIX))
    if found is None:
        raise UserError(
            f"{source!r} names no repository of the Hub: write {PREFIX}owner/name, or "
            f"{PREFIX}owner/name@revision."
        )
    return found["repo"], found["revision"]


@contextmanager
def explaining_hub(repo: str) -> Iterator[None]:
    """Turns what huggingface_hub raises about a repository into one sentence.

    Raises:
        UserError: In the place of its errors.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # also whatever the libraries below huggingface_hub raise
        raise UserError(_sentence(repo, error)) from error


def _sentence(repo: str, error: Exception) -> str:
    from huggingface_hub import constants, errors

    if isinstance(
        error.__cause__, errors.HfHubHTTPError
    ):  # why no copy could be brought up to date
        error = error.__cause__
    place = f"{repo} at {constants.ENDPOINT}"
    if isinstance(error, errors.GatedRepoError):
        return f"{place} is gated: accept its terms on its page, and {LOG_IN}."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{place} has no such revision: name a branch, tag or commit."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"There is no {place}, or it is private: check the name, or {LOG_IN}."
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"{place} is refused (HTTP {status}): {LOG_IN}, with a token that may do this."
        return f"{place} answers with HTTP {status}: {_first_line(error)}."
    return (
        f"{place} cannot be reached or read ({type(error).__name__}: {_first_line(error)}): check "
        "the network, and start the command again."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
