"""Charts that work offline and without JavaScript: a live chart, and a picture of it underneath."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# A picture cannot ask for the width of the page; the live chart replaces it where scripts run.
STATIC_WIDTH = 640
# A longer SVG document is used only where it weighs less than a PNG image of the same chart.
LONGEST_SVG = 60_000
MOST_ROWS = 2000
# Letters that can be read, also on a phone; labels of an axis that would touch give way.
CONFIG: dict[str, dict[str, Any]] = {
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "labelSeparation": 8},
    "legend": {"labelFontSize": 12, "titleFontSize": 12},
    "text": {"fontSize": 12},
}
_NAME = "fptlib"
_GLOBALS = "window.vega = vega; window.vegaLite = vegaLite; window.vegaEmbed = vegaEmbed;"
_DRAW = Path(__file__).parent / "assets" / "draw.js"


def enable() -> None:
    """Draw every Altair chart of this session with `bundle`."""
    import altair as alt

    alt.renderers.register(_NAME, lambda spec, **_: (bundle(spec), {}))
    alt.renderers.enable(_NAME)
    # The check of MOST_ROWS below replaces Altair's own limit, whose message suggests remedies that need a network.
    alt.data_transformers.disable_max_rows()


def bundle(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the representations of one Vega-Lite chart with its data inside; a screen reader says its ``description``.

    They are ``text/html`` (the picture, and the specification that the site's script draws over it), ``image/png`` and
    ``text/plain``. A ValueError refuses a chart without description, or with more than 2000 rows.
    """
    import vl_convert as vlc

    title = _title(spec)
    description = str(spec.get("description") or "").strip()
    if not description:
        remedy = "set .properties(description=...) to what it shows, in words"
        raise ValueError(f"chart {title!r} has no description; {remedy}")
    if (rows := sum(_rows(spec))) > MOST_ROWS:
        allowed = f"at most {MOST_ROWS} are allowed; aggregate the data before drawing"
        raise ValueError(f"chart {title!r} holds {rows} rows, {allowed}")
    version = vegalite_version()
    config = {**spec.get("config", {})}
    spec = {**spec, "config": config | {part: look | config.get(part, {}) for part, look in CONFIG.items()}}
    fixed = _with_fixed_width(spec)
    fixed["config"] = {**fixed["config"], "aria": False}  # the picture as a whole has a name, its marks need none
    svg = vlc.vegalite_to_svg(fixed, vl_version=version)
    png = vlc.svg_to_png(svg, scale=2)
    label = html.escape(description, quote=True)
    picture = base64.b64encode(png).decode()
    if len(svg.encode()) <= max(LONGEST_SVG, len(picture)):
        static = svg
    else:
        static = f'<img class="dark-light" width="{STATIC_WIDTH}" alt="" src="data:image/png;base64,{picture}">'
    # "<" is escaped so that no text in the data can close the script element.
    payload = json.dumps(spec, separators=(",", ":"), sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    # Names of clipping paths are those of the page: two pictures must not share them, or lines run over the axes.
    static = re.sub(r'( id="|url\(#)(?=clip)', rf"\g<1>p{zlib.crc32(payload.encode()):x}-", static)
    page = (
        f'<div class="vl-chart"><div class="vl-static" role="img" aria-label="{label}">{static}</div>'
        f'<script type="application/json" class="vl-spec">{payload}</script></div>'
    )
    return {"text/html": page, "image/png": picture, "text/plain": f"[chart] {description}"}


def vegalite_version() -> str:
    """Return the version of Vega-Lite that Altair writes, as ``major.minor``."""
    import altair as alt

    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script, which puts three names on the page and leaves its own out of it."""
    import vl_convert

    return f"(function () {{{vl_convert.javascript_bundle(_GLOBALS, vl_version=vegalite_version())}}})();\n"


def script() -> str:
    """Return the script that draws the live charts of a page over their pictures, once `library` is there."""
    return _DRAW.read_text()


def _title(spec: Mapping[str, Any]) -> str:
    title = spec.get("title") or "untitled"
    return str(title.get("text", "untitled")) if isinstance(title, Mapping) else str(title)


def _rows(spec: Mapping[str, Any]) -> Iterator[int]:
    """Yield the numbers of rows of all data sets in a specification, each counted once."""
    yield from map(len, spec.get("datasets", {}).values())
    pending: list[Any] = [spec]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            data = part.get("data")
            if isinstance(data, Mapping) and isinstance(data.get("values"), list):
                yield len(data["values"])
            pending.extend(value for key, value in part.items() if key not in ("data", "datasets"))
        elif isinstance(part, list):
            pending.extend(part)


def _with_fixed_width(spec: Mapping[str, Any], room: int = STATIC_WIDTH, panel: bool = False) -> dict[str, Any]:
    """Give charts the width of the picture, and panels side by side equal shares of it, less the room for their axes."""
    parts = {"layer": [_with_fixed_width(part, room) for part in spec["layer"]]} if "layer" in spec else {}
    for name in ("vconcat", "hconcat"):
        share = room // len(spec[name]) if name == "hconcat" and name in spec else room
        parts |= {name: [_with_fixed_width(part, share, True) for part in spec[name]]} if name in spec else {}
    alone = panel and not {"vconcat", "hconcat"} & set(spec)
    return {
        **spec,
        **parts,
        **({"width": room - 70} if alone else {"width": room} if spec.get("width") == "container" else {}),
    }
