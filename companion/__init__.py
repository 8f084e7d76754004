"""The machinery of the book: the builder of its pages, the published results, and the experiments on transfer.

It belongs to a checkout of the project and is no part of the installed library.
"""

from pathlib import Path

# The checkout: `params/`, `book/` and the kept results stand here.
ROOT = Path(__file__).resolve().parents[1]
