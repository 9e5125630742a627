"""The exception that means: the user's input is wrong, and this sentence says how to mend it."""


class UserError(ValueError):
    """Wrong input, named in one sentence: what is wrong, where, and how to mend it.

    Tools print the sentence without a traceback and exit with code 2.
    """
