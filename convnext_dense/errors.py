"""The exception that means: the user's input is wrong, and this sentence says how to mend it."""

import os


class UserError(ValueError):
    """Wrong input, named in one sentence: what is wrong, where, and how to mend it.

    Tools print the sentence without a traceback and exit with code 2.
    """


class MissingDataError(UserError):
    """Data that is not where it was looked for; the engine adds which data root it tried.

    Args:
        kind: What is missing: ``annotation file``, ``folder``.
        path: Where it was looked for.
    """

    def __init__(self, kind: str, path: str | os.PathLike) -> None:
        self.path = os.fspath(path)
        super().__init__(
            f"There is no {kind} {path}: give the folder that holds the data with --data-root or "
            "the environment variable CONVNEXT_DENSE_DATA."
        )


class RunEndedError(Exception):
    """A run ends early for a reason that is no wrong input; tools print the sentence.

    Args:
        sentence: What happened, and how to go on.
        code: Exit code of the tool.
    """

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code
