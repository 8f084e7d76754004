"""Invalid input from a user."""


class InputError(ValueError):
    """Input that cannot be used, described in one line: what is wrong, where, and what is allowed.

    The command line prints the line and exits with status 2. Anything else that goes wrong is a defect and keeps its traceback.
    """
