"""Claims and what the data say of them: one line for each, with an interval and a verdict that follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from pandas.io.formats.style import Styler

from companion.published.agreement import Interval, Reproduction, compare

NOTHING: Interval = (math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a claim is, and where it is found.

    Parameters
    ----------
    name, case, claim
        Short unique name; training, perturbation, threshold and ``P0`` in words; and the claim in one sentence.
    where
        Where it is made, or where the data are.
    chapter, parameters
        The chapter of this book that shows it (stem of its file), and what to execute for it.
    """

    name: str
    case: str
    claim: str
    where: str
    chapter: str
    parameters: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim, the value that the published data give, ours, and how they compare.

    Parameters
    ----------
    about
        The claim itself.
    expected
        Expected value, in words.
    ours, unit, n
        Our value with its interval, its unit, and the runs behind it.
    digits
        Decimals of our value.
    measure, score, accepted
        What decides, in words; its value and interval; and the range of values that agree with the claim.
    note
        What else to know.
    against
        A reason beyond the interval why the claim does not hold, empty if there is none.
    """

    about: About
    expected: str
    ours: Interval
    unit: str
    n: int
    measure: str
    score: Interval
    accepted: tuple[float, float]
    digits: int = 1
    note: str = ""
    against: str = ""

    @property
    def verdict(self) -> Reproduction:
        """What the interval of the score says."""
        return Reproduction.DOES_NOT if self.against else compare(self.score, self.accepted)


def claims_table(claims: Sequence[Claim]) -> pd.DataFrame:
    """Claims as a table.

    Columns ``name, case, claim, where, chapter, parameters, expected, ours, low, high, unit, digits, n, measure, score, score_low,
    score_high, accepted_low, accepted_high, verdict, note``.
    """
    rows = [
        {
            **{name: getattr(c.about, name) for name in ("name", "case", "claim", "where", "chapter", "parameters")},
            "expected": c.expected,
            **dict(zip(("ours", "low", "high"), c.ours, strict=True)),
            **{name: getattr(c, name) for name in ("unit", "digits", "n", "measure")},
            **dict(zip(("score", "score_low", "score_high"), c.score, strict=True)),
            **dict(zip(("accepted_low", "accepted_high"), c.accepted, strict=True)),
            "verdict": str(c.verdict),
            "note": "; ".join(part for part in (c.against, c.note) if part),
        }
        for c in claims
    ]
    return pd.DataFrame(rows)


def spelled(table: pd.DataFrame) -> pd.DataFrame:
    """A table of claims for a page, in three columns of HTML: ``claim, verdict, numbers``.

    The first has the claim, its case, and the chapter as a link; the last what is expected, ours, what decides, and what to execute.
    """
    shown = []
    for row in table.itertuples():
        score_digits = row.digits if row.measure == "difference" else 2
        ours = _words(row.ours, row.low, row.high, row.digits)
        score = _words(row.score, row.score_low, row.score_high, score_digits)
        number, _, chapter = row.chapter.partition("_")
        link = f'<a href="{row.chapter}.html">Chapter {int(number)}, {chapter.replace("_", " ")}</a>'
        numbers = [
            f"expected: {row.expected}",
            f"ours: {ours} {row.unit}".rstrip() + (f" ({row.n} runs)" if row.n else ""),
        ]
        numbers += [f"{row.measure}: <b>{score}</b>"] if row.measure else []
        command = f'<code style="white-space: normal; overflow-wrap: anywhere">{row.parameters}</code>'
        small = [part for part in (row.note, command) if part]
        shown.append(
            {
                "claim": f"<b>{row.claim}</b><br><small>{row.case}<br>{row.where}<br>{link}</small>",
                "verdict": row.verdict,
                "numbers": "<br>".join(numbers) + f"<br><small>{'<br>'.join(small)}</small>",
            }
        )
    return pd.DataFrame(shown)


def styled(table: pd.DataFrame) -> Styler:
    """The table of `spelled` for a page: cells that wrap, so that it fits a phone."""
    wrapped = {"white-space": "normal", "overflow-wrap": "break-word", "vertical-align": "top", "text-align": "left"}
    return spelled(table).style.hide(axis="index").set_properties(**wrapped)


def _words(mean: float, low: float, high: float, digits: int) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.{digits}f}" + ("" if math.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")


def untested(
    about: About,
    *,
    reason: str,
    expected: str = "-",
    ours: Interval = NOTHING,
    unit: str = "",
    digits: int = 1,
    n: int = 0,
) -> Claim:
    """A claim that cannot be tested here, and why."""
    return Claim(
        about=about,
        expected=expected,
        ours=ours,
        unit=unit,
        digits=digits,
        n=n,
        measure="",
        score=NOTHING,
        accepted=(-math.inf, math.inf),
        note=reason,
    )
