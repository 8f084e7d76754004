"""A project of two tiny chapters, to build in seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

FRONT = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""

COVER = (
    FRONT
    + """
# A small book

Cover page of {cite:t}`redner2001guide`, on {doc}`waiting`.

```{code-cell} ipython3
from companion import book

book.setup()
book.glue({"answer": "not valid"})
```

The verdict is {glue:text}`answer`.
"""
)

CHAPTER = (
    FRONT
    + """
# Waiting

A {term}`run` waits until it passes. With hazard $h$,

$$
S(t) = (1 - h)^t.
$$ (eq:survival)

Equation {eq}`eq:survival` is drawn in {numref}`fig-survival`.

```{code-cell} ipython3
:tags: [parameters]
hazard: float = 0.1  # probability to pass at an epoch
horizon: int = 30    # epochs
grid: dict = {"step": 1, "inner": {"first": 0}}
```

```{code-cell} ipython3
import altair as alt

from companion import book

book.setup()
book.uses("a formula")
rows = [{"epoch": t, "survival": (1 - hazard) ** t} for t in range(grid["inner"]["first"], horizon + 1, grid["step"])]
```

```{code-cell} ipython3
:tags: [hide-input]
:mystnb:
:  figure:
:    name: fig-survival
:    caption: Survival $S(t)$ of a geometric law.
chart = alt.Chart(alt.Data(values=rows), title="Survival", description="Survival falls from one towards zero.")
chart.mark_line().encode(x="epoch:Q", y="survival:Q").properties(width="container", height=200)
```

```{code-cell} ipython3
book.glue({"mean": {"mean": 1 / hazard, "low": 8.5, "high": 11.25}}, digits=2)
book.note("Nothing here was measured.")
```

The mean is {glue:text}`mean` epochs.

```{exercise} Memory
:label: ex-memory
Is it memoryless?
```

```{solution} ex-memory
:class: dropdown
Yes: $S(s + t) = S(s) S(t)$.
```
"""
)

TOC = """format: jb-book
root: book/index
chapters:
  - file: book/waiting
  - file: book/glossary
"""

GLOSSARY = """# Glossary

```{glossary}
run
  One training.
```

```{bibliography}
```
"""


def write(folder: Path, *, like: Path) -> Path:
    """Write a small project into ``folder``, with configuration, styles and bibliography of the project in ``like``."""
    shutil.copytree(like / "book" / "_static", folder / "book" / "_static")
    shutil.copy(like / "book" / "references.bib", folder / "book")
    shutil.copy(like / "_config.yml", folder)
    (folder / "_toc.yml").write_text(TOC)
    (folder / "book" / "index.md").write_text(COVER)
    (folder / "book" / "waiting.md").write_text(CHAPTER)
    (folder / "book" / "glossary.md").write_text(GLOSSARY)
    for profile, horizon in (("quick", 20), ("full", 40)):
        (folder / "params" / profile).mkdir(parents=True)
        (folder / "params" / profile / "waiting.yml").write_text(f"horizon: {horizon}\n")
    return folder
