"""The machinery of the book: the builder of its pages, the published results, and the experiments on transfer.

It belongs to a checkout of the project and is no part of the installed library.
"""

from pathlib import Path

# The checkout: `params/`, `book/` and the kept results stand here.
ROOT = Path(__file__).resolve().parents[1]


def words(key: tuple[str, int] | None) -> str:
    """Name an ensemble in words.

    >>> words(("shrink_perturb", 5)), words(("partial_reset", 1)), words(None)
    ('shrink-and-perturb every 5 epochs', 'partial reset every epoch', 'no perturbation')
    """
    return (
        "no perturbation" if key is None else f"{spoken(key[0])} every {f'{key[1]} epochs' if key[1] > 1 else 'epoch'}"
    )


def spoken(name: str) -> str:
    """Return the name of a perturbation as prose has it."""
    return {"shrink_perturb": "shrink-and-perturb"}.get(name, name.replace("_", " "))
