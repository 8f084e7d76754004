"""Invalid input from a user."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used, described in one line: what is wrong, where, and what is allowed.

    The command line prints the line and exits with status 2. Anything else that goes wrong is a defect and keeps its traceback.
    """


def meant(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return a question for the known name that is nearest to a wrong one, to go on a sentence; nothing where none is near.

    ``cutoff`` goes from 0, where every name is near, to 1, where only an equal one is.
    """
    near = difflib.get_close_matches(name, [*known], n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""
