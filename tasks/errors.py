"""The error of every task that its user can cause and mend."""


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one sentence.

    The command line prints the sentence and exits with 2.
    """
