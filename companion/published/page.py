"""Tables of claims on a page: at a glance, and in full."""

from __future__ import annotations

import pandas as pd
from pandas.io.formats.style import Styler

from companion.published.judges import spell
from fptlib.firstpassage import Estimate


def glance(claims: pd.DataFrame) -> Styler:
    """Show each claim once, with what decides it; its cases with their verdicts and that number."""
    lines = []
    for claim, part in claims.groupby("claim", sort=False):
        cases = [f"{_full(line)}: <b>{line['verdict']}</b> {_score(line)}".rstrip() for _, line in part.iterrows()]
        by = part["measure"].max()
        lines.append({"claim": f"{claim}<br><small>{by}</small>" if by else claim, "cases": "<br>".join(cases)})
    return _wrapped(pd.DataFrame(lines))


def in_full(claims: pd.DataFrame) -> Styler:
    """Show all of each claim in three columns: the claim with its case, origin and chapter; the verdict; and the numbers behind it."""
    shown = []
    for _, line in claims.iterrows():
        number, _, chapter = line["chapter"].partition("_")
        link = f'<a href="{line["chapter"]}.html">Chapter {int(number)}, {chapter.replace("_", " ")}</a>'
        low, high = line["accepted"]
        decides = f"{line['measure']}: <b>{_score(line)}</b>, accepted {low:g} to {high:g}" if line["measure"] else ""
        shown.append(
            {
                "claim": f"<b>{line['claim']}</b><br><small>{_full(line)}<br>{line['where']}<br>{link}</small>",
                "verdict": line["verdict"],
                "numbers": "<br>".join(
                    part for part in (line["ours"], decides, f"<small>{line['note']}</small>") if part
                ),
            }
        )
    return _wrapped(pd.DataFrame(shown))


def _full(line: pd.Series[str]) -> str:
    return "; ".join(part for part in (line["title"], line["words"]) if part) or "no data"


def _score(line: pd.Series[float]) -> str:
    return "" if not line["measure"] else spell(Estimate(line["score"], line["low"], line["high"], 0, 0), 2)


def _wrapped(table: pd.DataFrame) -> Styler:
    """Let cells wrap, so that the table fits a phone."""
    style = {"white-space": "normal", "overflow-wrap": "break-word", "vertical-align": "top", "text-align": "left"}
    return table.style.hide(axis="index").set_properties(**style)
