"""Charts: valid Vega-Lite with a description, few enough rows for a page, drawn without a browser."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from numpy.typing import NDArray

from companion import charts as own
from fptlib import charts, tables
from fptlib.charts import common, render
from fptlib.firstpassage import first_passage, hazard, survival
from fptlib.processes import OrnsteinUhlenbeck
from fptlib.qss import assess_qss
from fptlib.response import at_each, predict, recommend
from fptlib.response.interval import GRADES
from fptlib.study import Study
from fptlib.trajectories import Trajectories

PROCESS = OrnsteinUhlenbeck(shrink=0.4)
RUNS = PROCESS.sample(np.random.default_rng(0), n_runs=150, horizon=1200)
SHORT = RUNS.head(epochs=60)
KICKED = PROCESS.sample(np.random.default_rng(1), n_runs=150, horizon=60, period=10)
CURVE = survival(first_passage(RUNS, PROCESS.threshold)).to_frame()
HAZARD = hazard(first_passage(SHORT, PROCESS.threshold), width=5).to_frame()
STUDY = Study(SHORT, {("shrink", 10): KICKED}, PROCESS.threshold, n_boot=50)
STATE = assess_qss(STUDY, n_boot=20)
PROFILE = STATE.to_frame()
PREDICTED = predict(STUDY, [1, 2, 5, 10, 20, 40]).to_frame()
RANKED = recommend(STUDY).to_frame()
FASTER = at_each([1.4, 1.5, 99], lambda x: recommend(STUDY.at(x)))
REGRET = pd.DataFrame(
    [(m, b, 9 / b, 8 / b, 10 / b) for m in ("closed loop", "grid") for b in (10, 20, 40)],
    columns=["method", "budget", "regret", "low", "high"],
)

CHARTS: dict[str, Callable[[], alt.LayerChart]] = {
    "survival": lambda: charts.survival({"unperturbed": CURVE}),
    "survival, two curves": lambda: charts.survival({"a": CURVE, "b": CURVE.drop(columns=["low", "high"])}),
    "survival without interval": lambda: charts.survival({"exact": CURVE[["epoch", "survival"]]}),
    "fan": lambda: charts.fan(tables.quantile_table(RUNS)),
    "fan with threshold": lambda: charts.fan(tables.quantile_table(RUNS), threshold=1.5, metric="state"),
    "trajectories": lambda: charts.trajectories(RUNS, 1.5),
    "trajectories that never pass": lambda: charts.trajectories(RUNS, 99.0, title="state"),
    "distance": lambda: charts.distance({"runs": PROFILE}, tolerance=0.2),
    "distance, two": lambda: charts.distance(
        {"a": PROFILE, "b": PROFILE}, tolerance=0.2, relaxation={"a": STATE.relaxation_epoch, "b": None}
    ),
    "hazard": lambda: charts.hazard({"unperturbed": HAZARD}),
    "hazard with empty bins": lambda: charts.hazard({"a": HAZARD, "b": HAZARD.assign(hazard=0.0, low=0.0)}),
    "hazard where nobody passes": lambda: charts.hazard({"a": HAZARD.assign(hazard=0.0, low=0.0)}),
    "hazard with 1/τ above": lambda: charts.hazard({"a": HAZARD}, tau=0.9),
    "response": lambda: charts.response(PREDICTED),
    "response with everything": lambda: charts.response(
        PREDICTED, STUDY.means(), period=10, unperturbed=40.0, cap=60.0
    ),
    "response with both lines": lambda: charts.response(
        PREDICTED, formula=np.arange(1.0, 70), bound=np.arange(0.5, 30)
    ),
    "ranking": lambda: charts.ranking(RANKED),
    "ranking, all open": lambda: charts.ranking(RANKED.assign(mean=np.nan, grade="open", measured=False)),
    "speed-up": lambda: charts.speedup(FASTER),
    "regret at budgets": lambda: charts.regret(REGRET),
}
every_chart = pytest.mark.parametrize("make", CHARTS.values(), ids=CHARTS.keys())


def rows(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the data of a specification, name of a set to its rows."""
    datasets: dict[str, list[dict[str, Any]]] = spec["datasets"]
    return datasets


def svg(chart: alt.LayerChart, width: int = 500) -> str:
    """Return the picture of a chart."""
    spec = json.dumps(chart.to_dict() | {"width": width})
    return str(vl_convert.vegalite_to_svg(spec, vl_version=render.vegalite_version()))


# Closed forms


def test_the_survival_chart_draws_the_table_and_says_where_it_ends() -> None:
    table = pd.DataFrame(
        {"epoch": [0, 1, 2], "survival": [1.0, 0.5, 0.25], "low": [1, 0.2, 0.1], "high": [1, 0.8, 0.6]}
    )
    spec = charts.survival({"mine": table}).to_dict()
    assert spec["description"] == "Survival against epoch: mine ends at 0.25."
    assert [r["survival"] for r in next(iter(rows(spec).values()))] == [1.0, 0.5, 0.25]


def test_first_passages_are_marked_where_they_happen() -> None:
    runs = Trajectories(metrics={"m": np.array([[0.0, 2, 3], [1, 0, 0]])}, run=np.array([4, 7]))
    spec = charts.trajectories(runs, 2).to_dict()
    assert {"run": "4", "epoch": 2, "metric": 2.0} in [r for data in rows(spec).values() for r in data]
    assert spec["description"] == "2 runs; 1 of them reach 2 within 3 epochs."


def test_the_response_chart_says_which_period_is_best() -> None:
    table = pd.DataFrame(
        [
            (5, np.nan, 3.0, 30.0, "open", False),
            (10, 12.0, 10.0, 14.0, "to 20 %", False),
            (20, 21.0, 20, 22, "to 10 %", True),
        ],
        columns=["period", "mean", "low", "high", "grade", "measured"],
    )
    measured = pd.DataFrame({"period": [20], "mean": [20.5], "low": [20.0], "high": [21.5]})
    spec = charts.response(table, measured).to_dict()
    text = "2 predictions, 1 measurements; the smallest is 12.0 epochs at period 10 (to 20 %)."
    assert spec["description"].endswith(text)
    drawn = {(r["period"], r["mean"], r["grade"]) for data in rows(spec).values() for r in data}
    assert drawn == {(5, None, "open"), (10, 12.0, "to 20 %"), (20, 20.5, "measured")}


def test_open_predictions_are_ranges_without_a_point() -> None:
    table = PREDICTED.assign(mean=np.nan, grade="open", measured=False)
    picture = svg(charts.response(table))
    assert picture.count('aria-roledescription="rule mark"') == len(table)
    assert 'aria-roledescription="point"' not in picture


def test_the_formula_and_its_bound_are_lines_over_all_periods_between_the_first_and_the_last() -> None:
    spec = charts.response(PREDICTED, formula=np.arange(100) + 7.0, bound=np.arange(100) + 1).to_dict()
    [name] = [layer["data"]["name"] for layer in spec["layer"] if layer["mark"]["type"] == "line"]
    drawn = {label: [r for r in rows(spec)[name] if r["grade"] == label] for label in common.CURVE_COLOURS}
    assert [[(r["period"], r["mean"]) for r in line] for line in drawn.values()] == [
        [(p, p + above) for p in range(1, 41)] for above in (7, 1)
    ]
    colours = spec["layer"][0]["encoding"]["color"]["scale"]
    assert dict(zip(colours["domain"], colours["range"], strict=True)).items() >= common.CURVE_COLOURS.items()
    [axis] = {tuple(layer["encoding"]["y"]["scale"]["domain"]) for layer in spec["layer"]}
    assert axis[0] < 2, "the axis holds the bound"
    assert spec["description"] == charts.response(PREDICTED).to_dict()["description"]


def test_one_over_the_residual_time_is_a_line_within_the_axis() -> None:
    spec = charts.hazard({"a": HAZARD}, tau=0.8).to_dict()
    assert {"at": 1.25} in [r for data in rows(spec).values() for r in data]
    [top] = {
        layer["encoding"]["y"]["scale"]["domain"][1] for layer in spec["layer"] if "scale" in layer["encoding"]["y"]
    }
    assert top == pytest.approx(1.5)
    assert spec["description"].endswith("; 1/τ is 1.2.")


def test_the_chart_names_axes_lines_and_the_marked_epoch() -> None:
    table = tables.mean_table(Trajectories({"m": np.random.default_rng(0).normal(size=(6, 8))}, np.arange(6)))
    spec = charts.lines({"none": table, "kick": table}, at=3).to_dict()
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["area", "line", "rule"]
    assert spec["layer"][1]["encoding"]["y"]["title"] == "mean test accuracy (fraction)"
    assert spec["description"] == "mean test accuracy (fraction) against epoch: none, kick; epoch 3 is marked."
    without = table[["epoch", "mean"]].assign(mean=9.0)
    domain = charts.lines({"none": table, "computed": without}).to_dict()["layer"][1]["encoding"]["y"]["scale"][
        "domain"
    ]
    assert domain[1] == 9.0
    bare = charts.lines({"one": pd.DataFrame({"epoch": [1, 2], "factor": [1.0, 0.5]})}, y="factor", title="factor")
    assert [layer["mark"]["type"] for layer in bare.to_dict()["layer"]] == ["line"]


# Laws


@every_chart
def test_every_chart_is_valid_described_small_and_drawn_without_a_browser(make: Callable[[], alt.LayerChart]) -> None:
    spec = make().to_dict()  # checked against the schema
    assert len(spec["description"]) > 10
    assert "nan" not in spec["description"]
    assert spec["width"] == "container"
    assert all(len(data) < render.MOST_ROWS for data in rows(spec).values())
    text = json.dumps(spec, allow_nan=False)
    assert "http" not in text.replace(spec["$schema"], "")
    unit = re.compile(r"epoch|accuracy|state|S$|KS distance|threshold|ratio")
    for layer in spec["layer"]:
        titles = [layer["encoding"].get(axis, {}).get("title") for axis in ("x", "y")]
        assert all(title is None or unit.search(title) for title in titles), titles
        assert layer["mark"]["type"] == "area" or layer["mark"].get("opacity", 1) == 1
    for axis in ("x", "y"):
        assert any(layer["encoding"].get(axis, {}).get("title") for layer in spec["layer"])
    picture = vl_convert.vegalite_to_svg(text.replace('"container"', "500"), vl_version=render.vegalite_version())
    assert picture.startswith("<svg")
    assert "NaN" not in picture
    assert picture.count("<path") > 5


def seen(colours: list[str]) -> dict[str, NDArray[np.float64]]:
    """Return CIELAB coordinates ``(colours, 3)`` as all eyes see them, and with deuteranopia and protanopia (Machado et al., 2009)."""
    matrices = {
        "all": "1 0 0; 0 1 0; 0 0 1",
        "deuteranopia": "0.367322 0.860646 -0.227968; 0.280085 0.672501 0.047413; -0.011820 0.042940 0.968881",
        "protanopia": "0.152286 1.052583 -0.204868; 0.114503 0.786281 0.099216; -0.003882 -0.048116 1.051998",
        "xyz": "0.4124564 0.3575761 0.1804375; 0.2126729 0.7151522 0.0721750; 0.0193339 0.1191920 0.9503041",
    }
    visions = {name: np.array([row.split() for row in text.split(";")], float) for name, text in matrices.items()}
    white, to_xyz = np.array([0.95047, 1, 1.08883]), visions.pop("xyz")
    result = {}
    for name, vision in visions.items():
        xyz = np.clip(linear(colours) @ vision.T, 0, 1) @ to_xyz.T / white
        x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
        result[name] = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    return result


def test_grades_are_a_sequence_for_every_eye() -> None:
    assert list(common.GRADE_COLOURS) == list(common.GRADE_SHAPES) == ["measured", *GRADES, "open"]
    assert len(set(common.GRADE_SHAPES.values())) == 6
    for vision, lab in seen([*common.GRADE_COLOURS.values()][1:]).items():
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
        assert apart[~np.eye(len(lab), dtype=bool)].min() > 30, vision
        assert (np.diff(lab[:, 2]) > 0).all(), f"{vision}: from blue to yellow"


def test_no_two_names_look_the_same_even_where_colours_are_used_again() -> None:
    names = [str(i) for i in range(20)]
    kinds = (common.colour, common.dash, common.shape)
    colours, dashes, shapes = (kind(names, "curve").to_dict()["scale"]["range"] for kind in kinds)
    assert len({(c, *d) for c, d in zip(colours, dashes, strict=True)}) == len(names)
    assert len(set(zip(colours, shapes, strict=True))) == len(names)
    assert dashes[0] == [1, 0]
    few = charts.PALETTE, common.SHAPES, {tuple(d) for d in common.DASHES}
    assert [len(set(channel)) for channel in few] == [7, 7, 7]


def linear(colours: Sequence[str]) -> NDArray[np.float64]:
    """Return linear RGB ``(colours, 3)`` of ``#RRGGBB`` or ``rgb(R, G, B)``."""
    channels = [re.findall(r"\d+", c) if c[0] != "#" else [int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours]
    coded = np.array(channels, dtype=float) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio that WCAG 2.2 defines, from 1 to 21, of two colours."""
    dark, light = sorted(linear([one, other]) @ (0.2126, 0.7152, 0.0722))
    return float((light + 0.05) / (dark + 0.05))


@pytest.mark.parametrize("page", ["#FFFFFF", "#121212"])
def test_marks_stand_out_from_both_pages(page: str) -> None:
    for colour in {*charts.PALETTE, *common.GRADE_COLOURS.values()} - {common.INK}:
        assert contrast(colour, page) >= 3, (colour, page)
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)  # the textbook case that just fails at 4.5


# Limits


def test_thinning_keeps_both_ends_and_the_shape() -> None:
    spec = charts.survival({"long": CURVE}).to_dict()
    drawn = next(iter(rows(spec).values()))
    assert len(drawn) <= common.MAX_POINTS
    assert (drawn[0]["epoch"], drawn[-1]["epoch"]) == (0, CURVE["epoch"].iloc[-1])
    kept = CURVE.set_index("epoch")["survival"]
    assert all(r["survival"] == pytest.approx(kept[r["epoch"]]) for r in drawn)


def test_a_single_epoch_and_a_single_prediction_can_be_drawn() -> None:
    svg(charts.response(PREDICTED.head(1), period=1), width=300)
    charts.survival({"start": CURVE.head(1)}).to_dict()
    charts.fan(tables.quantile_table(RUNS.head(epochs=1))).to_dict()


# -- the matrix of regrets


def regrets(values: list[float]) -> pd.DataFrame:
    rows = [f"row {i}" for i in range(len(values))]
    pairs = [(s, t, values[(i + j) % len(values)]) for i, s in enumerate(rows) for j, t in enumerate(rows)]
    table = pd.DataFrame(pairs, columns=["source", "target", "regret"])
    return table.assign(choice="none", low=table["regret"], high=table["regret"])


def cells_of(picture: str) -> list[tuple[str, str, str]]:
    """Colour of each cell, its letters and their colour."""
    mark = r'aria-label="[^"]*" role="graphics-symbol" aria-roledescription="rect mark"[^>]*fill="([^"]+)"'
    cells = re.findall(mark, picture)
    letters = re.findall(r'<text aria-label="[^>]*fill="([^"]+)"[^>]*>([^<]*)</text>', picture)
    assert len(cells) == len(letters) > 0
    return [(cell, text, fill) for cell, (fill, text) in zip(cells, letters, strict=True)]


def test_numbers_in_a_matrix_stand_out_from_their_cells() -> None:
    for cell, text, letters in cells_of(svg(own.matrix(regrets(list(np.linspace(0, 0.35, 9)))), width=640)):
        assert contrast(cell, letters) >= 4.2, f"{text}: {letters} on {cell}"


@pytest.mark.browser
def test_numbers_in_a_matrix_keep_their_colour_on_a_dark_page(chromium: Any) -> None:
    picture = svg(own.matrix(regrets([0.0, 0.1, 0.5])), width=640)
    style = (Path(__file__).parents[1] / "book" / "_static" / "custom.css").read_text()
    page = chromium.new_page()
    page.set_content(
        f'<html data-theme="dark" style="--pst-color-text-base: #ced6dd"><style>{style}</style><div class="vl-chart">{picture}</div></html>'
    )
    given, seen = page.evaluate(
        "() => [e => e.getAttribute('fill'), e => getComputedStyle(e).fill]"
        ".map(of => [...document.querySelectorAll('.role-mark text')].map(of))"
    )
    titles = page.evaluate("[...document.querySelectorAll('.role-axis-title text')].map(e => getComputedStyle(e).fill)")
    page.close()
    assert len(given) == 9
    assert [contrast(a, b) for a, b in zip(given, seen, strict=True)] == pytest.approx([1.0] * 9)
    assert set(titles) == {"rgb(206, 214, 221)"}, "words beside the cells follow the page"


def test_titles_of_a_matrix_fit_on_a_phone() -> None:
    names = [f"a-rather-long-name-{i}" for i in range(9)]
    table = regrets(list(np.linspace(0, 0.35, 9)))
    named = {
        end: table[end].map(dict(zip(dict.fromkeys(table[end]), names, strict=True))) for end in ("source", "target")
    }
    table = table.assign(**named)
    encoding = own.matrix(table).to_dict()["layer"][0]["encoding"]
    # 342 pixels of a page of 390, less the names at the side and their title; bold letters take up to 7.
    room = 342 - encoding["y"]["axis"]["labelLimit"] - 30
    assert 7 * len(encoding["x"]["title"]) <= room


# What a page gets

CHART = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.4.1.json",
    "description": 'Three points & a "line"',
    "title": "Points",
    "width": "container",
    "data": {"values": [{"x": x, "y": x * x, "text": "</script>"} for x in range(3)]},
    "mark": "line",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


def test_chart_has_picture_description_and_escaped_data() -> None:
    made = render.bundle(CHART)
    assert made == render.bundle(CHART)
    assert made["text/plain"] == '[chart] Three points & a "line"'
    assert 'aria-label="Three points &amp; a &quot;line&quot;"' in made["text/html"]
    assert "<svg" in made["text/html"]
    assert made["text/html"].count("</script>") == 1
    payload = re.search(r'class="vl-spec">(.*?)</script>', made["text/html"])
    assert payload is not None
    assert json.loads(payload[1]) == CHART | {"config": render.CONFIG}
    own = render.bundle(CHART | {"config": {"axis": {"labelFontSize": 20}}})["text/html"]
    assert 'font-size="20px"' in own, "what a chart sets itself goes before"


def test_labels_of_an_axis_do_not_touch_and_letters_have_12_pixels() -> None:
    values = [{"x": x, "y": x * x} for x in range(201)]
    text = render.bundle(CHART | {"data": {"values": values}})["text/html"]
    axis = re.search(r"role-axis-label.*?</g>", text)
    assert axis is not None
    labels = re.findall(
        r'text-anchor="(\w+)" transform="translate\(([\d.]+),[^>]*font-size="(\d+)px"[^>]*opacity="1"[^>]*>(\d+)<',
        axis[0],
    )
    assert [number for *_, number in labels][-1] == "200"
    ends = []
    for anchor, x, size, number in labels:
        wide, share = 0.6 * int(size) * len(number), {"start": 0, "middle": 0.5, "end": 1}[anchor]
        ends.append((float(x) - share * wide, float(x) + (1 - share) * wide))
        assert int(size) == 12
    assert all(after[0] - before[1] >= 5 for before, after in itertools.pairwise(ends))


def test_pictures_of_a_page_do_not_clip_one_another() -> None:
    line = CHART | {"mark": {"type": "line", "clip": True}}
    one, other = (render.bundle(line | {"height": height})["text/html"] for height in (100, 200))
    names = [set(re.findall(r'<clipPath id="([^"]+)"', text)) for text in (one, other)]
    assert all(names)
    assert not names[0] & names[1]
    assert set(re.findall(r"url\(#([^)]+)\)", one)) == names[0]


def test_chart_without_description_or_with_too_many_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="chart 'Points' has no description"):
        render.bundle({**CHART, "description": ""})
    rows = [{"x": x, "y": x} for x in range(render.MOST_ROWS + 1)]
    with pytest.raises(ValueError, match="holds 2001 rows, at most 2000"):
        render.bundle({**CHART, "data": {"values": rows}})
    with pytest.raises(ValueError, match="holds 2001 rows"):
        render.bundle({**CHART, "datasets": {"a": rows[:2000], "b": rows[:1]}, "data": {"name": "a"}})


@pytest.mark.parametrize(("places", "image"), [(5, True), (1500, False)])
def test_of_a_large_chart_the_smaller_picture_is_shown(places: int, image: bool) -> None:
    rows = [{"x": x % places, "y": x % 7} for x in range(1900)]
    made = render.bundle({**CHART, "mark": "point", "data": {"values": rows}})
    assert ("data:image/png;base64," in made["text/html"]) == image
