"""The exception that means: the user's input is wrong, and this sentence says how to mend it."""


class UserError(ValueError):
    """Wrong input, named in one sentence: what is wrong, where, and how to mend it.

    Tools print the sentence without a traceback and exit with code 2.
    """


class RunEndedError(Exception):
    """A run ends early for a reason that is no wrong input; tools print the sentence.

    Args:
        sentence: What happened, and how to go on.
        code: Exit code of the tool.
    """

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code
