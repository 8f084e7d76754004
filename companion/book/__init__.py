"""The book: what chapters call, and the machinery that executes them and builds the site.

Chapters write ``from companion import book`` and use the functions below. They work in any Jupyter session; inside a build
they also record what the page's provenance box shows. The machinery (`companion.book.site`) is imported only by the
command line, so that a kernel stays light.
"""

from companion.book.notebook import ensemble, experiments, glue, note, provenance, published_note, setup, uses

__all__ = ["ensemble", "experiments", "glue", "note", "provenance", "published_note", "setup", "uses"]
