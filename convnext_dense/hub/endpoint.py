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
    from huggingface_hub import constants, errors

    place = f"{repo} at {constants.ENDPOINT}"
    try:
        yield
    except UserError:
        raise
    except errors.HFValidationError as error:
        raise UserError(f"{repo} is no name of a repository: {error}.") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{place} is gated: accept its terms on its page, and {LOG_IN}.") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{place} has no such revision: name a branch, tag or commit.") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"There is no {place}, or it is private: check the name, or {LOG_IN}."
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise UserError(
                f"{place} is refused (HTTP {status}): {LOG_IN}, with a token that may do this."
            ) from error
        raise UserError(f"{place} answers with HTTP {status}: {_first_line(error)}.") from error
    except Exception as error:  # no network, and whatever the libraries below it raise
        raise UserError(
            f"{place} cannot be reached or read ({type(error).__name__}: {_first_line(error)}): "
            "check the network, and start the command again."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
