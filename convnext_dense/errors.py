"""The exception that means: the user's input is wrong, and this sentence says how to mend it."""


class UserError(ValueError):
    """Wrong input, named in one sentence: what is wrong, where, and how to mend it.

    Tools print the sentence without a traceback and exit with code 2.
    """


class MissingDataError(UserError):
    """Data that is not where it was looked for; the engine adds which data roots it tried.

    Args:
        what: ``There is no folder /data/coco``, without a full stop.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: give the folder that holds the data with --data-root or the environment "
            "variable CONVNEXT_DENSE_DATA."
        )
