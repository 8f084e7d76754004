"""Tables of claims on a page: at a glance, and in full."""

from __future__ import annotations

import pandas as pd
from pandas.io.formats.style import Styler

from companion.published.agreement import interval, spell


def glance(claims: pd.DataFrame) -> Styler:
    """Show each claim once, with what decides it; its cases with their verdicts and that number."""
    one_title = claims["title"].nunique() == 1 and claims["case"].all()
    lines = []
    for _, line in claims.iterrows():
        tested = line["measure"] != ""
        case = line["case"] if one_title else _full(line)
        score = f" {spell(_score(line), 2)}" if tested else ""
        by = f"<br><small>{line['measure']}</small>" if tested else ""
        lines.append({"claim": line["claim"] + by, "cases": f"{case}: <b>{line['verdict']}</b>{score}"})
    return _wrapped(pd.DataFrame(lines).groupby("claim", sort=False)["cases"].agg("<br>".join).reset_index())


def in_full(claims: pd.DataFrame) -> Styler:
    """Show all of each claim in three columns: ``claim, verdict, numbers``.

    The first has the claim, its case, and the chapter as a link; the last what is expected, ours, what decides, and what to execute.
    """
    shown = []
    for _, line in claims.iterrows():
        number, _, chapter = line["chapter"].partition("_")
        link = f'<a href="{line["chapter"]}.html">Chapter {int(number)}, {chapter.replace("_", " ")}</a>'
        ours = f"{spell(interval(line, ('ours', 'low', 'high')), line['digits'])} {line['unit']}".rstrip()
        numbers = [f"expected: {line['expected']}", f"ours: {ours}" + (f" ({line['n']} runs)" if line["n"] else "")]
        if line["measure"]:
            digits = line["digits"] if line["measure"] == "difference" else 2
            numbers.append(f"{line['measure']}: <b>{spell(_score(line), digits)}</b>")
        command = f'<code style="white-space: normal; overflow-wrap: anywhere">{line["parameters"]}</code>'
        small = "<br>".join(part for part in (line["note"], command) if part)
        shown.append(
            {
                "claim": f"<b>{line['claim']}</b><br><small>{_full(line)}<br>{line['where']}<br>{link}</small>",
                "verdict": line["verdict"],
                "numbers": "<br>".join(numbers) + f"<br><small>{small}</small>",
            }
        )
    return _wrapped(pd.DataFrame(shown))


def _full(line: pd.Series[str]) -> str:
    return "; ".join(part for part in (line["title"], line["case"]) if part)


def _score(line: pd.Series[float]) -> tuple[float, float, float]:
    return interval(line, ("score", "score_low", "score_high"))


def _wrapped(table: pd.DataFrame) -> Styler:
    """Let cells wrap, so that the table fits a phone."""
    style = {"white-space": "normal", "overflow-wrap": "break-word", "vertical-align": "top", "text-align": "left"}
    return table.style.hide(axis="index").set_properties(**style)
