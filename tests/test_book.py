"""The book's machinery: what is executed when, what is refused, and what ends up on the page."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import sys
import time
from pathlib import Path

import nbformat
import pytest

import small_book
from companion.book import keys, pages, site
from companion.book.execute import execute, find
from companion.book.notebook import spell
from companion.book.parameters import declared, parse_overrides, resolve
from companion.book.project import BuildError, Project
from fptlib.charts import render
from fptlib.errors import InputError

CHART = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.4.1.json",
    "description": 'Three points & a "line"',
    "title": "Points",
    "width": "container",
    "data": {"values": [{"x": x, "y": x * x, "text": "</script>"} for x in range(3)]},
    "mark": "line",
    "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
}


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Project:
    """A small project that was never built."""
    return Project(root=small_book.write(tmp_path, like=root))


@pytest.fixture
def warm(tmp_path: Path, small_site: Path) -> Project:
    """A copy of the small project with everything that its build left."""
    shutil.copytree(small_site, tmp_path / "warm")
    return Project(root=tmp_path / "warm")


def executed_notebooks(project: Project) -> dict[str, int]:
    """Executed notebooks in the cache, with the time at which they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (project.build / "cache").glob("*.ipynb")}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def parameters(project: Project, name: str = "waiting", **overrides: object) -> dict[str, object]:
    chapter = project.chapter(name)
    return resolve(chapter, project.parameter_file("quick", chapter), overrides)


# What is executed when


def test_a_file_that_ensembles_use_is_part_of_the_key(project: Project) -> None:
    chapter, values = project.chapter("waiting"), parameters(project)
    before = keys.chapter_key(project, chapter, values)
    (project.root / "examples").mkdir()
    (project.root / "examples" / "own.py").write_text("x = 1\n")
    assert keys.chapter_key(project, chapter, values) != before


def test_second_build_executes_nothing_and_takes_seconds(warm: Project) -> None:
    before = executed_notebooks(warm)
    page = (warm.html / "book" / "waiting.html").stat().st_mtime_ns
    started = time.perf_counter()
    site.build(warm.root)
    assert time.perf_counter() - started < 10
    assert executed_notebooks(warm) == before
    assert (warm.html / "book" / "waiting.html").stat().st_mtime_ns == page


def test_edit_of_prose_executes_nothing_and_shows(warm: Project) -> None:
    before = executed_notebooks(warm)
    edit(warm.root / "book" / "waiting.md", "A {term}`run` waits", "Every {term}`run` of ours waits")
    site.build(warm.root)
    assert executed_notebooks(warm) == before
    assert "of ours waits" in (warm.html / "book" / "waiting.html").read_text()


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("book/waiting.md", "alt.Data(values=rows)", "alt.Data(values=rows[1:])"),
        ("book/waiting.md", ":tags: [hide-input]", ":tags: [hide-input, other]"),
        ("params/quick/waiting.yml", "20", "21"),
    ],
)
def test_edit_of_code_tags_or_parameters_needs_execution(warm: Project, path: str, old: str, new: str) -> None:
    assert find(warm, warm.chapter("waiting"), parameters(warm)) is not None
    edit(warm.root / path, old, new)
    changed = Project(root=warm.root)
    assert find(changed, changed.chapter("waiting"), parameters(changed)) is None
    assert find(changed, changed.chapter("index"), {}) is not None


@pytest.mark.parametrize("function", ["library_digest", "versions", "data_fingerprint"])
def test_change_of_library_versions_or_data_needs_execution(
    warm: Project, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(warm, warm.chapter("waiting"), parameters(warm)) is not None
    monkeypatch.setattr(keys, function, lambda: "changed")
    assert find(warm, warm.chapter("waiting"), parameters(warm)) is None


def test_change_of_an_ensemble_needs_execution(warm: Project) -> None:
    folder = warm.root / "params" / "ensembles"
    folder.mkdir()
    (folder / "digits.yml").write_text("runs: 3\n")
    assert find(warm, warm.chapter("waiting"), parameters(warm)) is None


def test_library_digest_follows_an_edit_of_the_library_and_not_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in keys.PACKAGES_OF_CHAPTERS:
        shutil.copytree(keys.ROOT / name, tmp_path / name)
    monkeypatch.setattr(keys, "ROOT", tmp_path)
    monkeypatch.setattr(keys, "library_digest", getattr(keys.library_digest, "__wrapped__", keys.library_digest))
    before, everything = keys.library_digest(), keys.library_digest(everything=True)
    (tmp_path / "companion" / "book" / "site.py").write_text("# another site\n")
    assert keys.library_digest() == before
    assert keys.library_digest(everything=True) != everything
    (tmp_path / "fptlib" / "trajectories.py").write_text("# another library\n")
    assert keys.library_digest() != before


def test_two_executions_are_byte_identical(warm: Project) -> None:
    cache = warm.build / "cache"
    before = {path.name: path.read_bytes() for path in cache.glob("*.ipynb")}
    shutil.rmtree(cache)
    for chapter in warm.chapters:
        values = parameters(warm, chapter.name)
        execute(warm, chapter, values, {name: p.default for name, p in declared(chapter).items()})
    assert {path.name: path.read_bytes() for path in cache.glob("*.ipynb")} == before


# What is refused


def test_failing_cell_fails_the_build_and_is_named(project: Project) -> None:
    edit(project.root / "book" / "waiting.md", 'book.uses("a formula")', "shares = 1 / 0")
    with pytest.raises(
        BuildError, match=r"waiting\.md: cell 2 \('import altair as alt'\) fails: ZeroDivisionError"
    ) as error:
        site.build(project.root)
    assert "shares = 1 / 0" in str(error.value)
    assert not any("waiting" in path.name for path in (project.build / "cache").iterdir())
    assert not project.html.exists()


def test_cell_that_writes_to_stderr_fails_the_build(project: Project) -> None:
    edit(
        project.root / "book" / "waiting.md", 'book.uses("a formula")', "import warnings; warnings.warn('mind the gap')"
    )
    chapter = project.chapter("waiting")
    with pytest.raises(BuildError, match=r"cell 2 .* writes to stderr(.|\n)*mind the gap"):
        execute(project, chapter, parameters(project))
    assert find(project, chapter, parameters(project)) is None


def test_broken_reference_fails_the_build_and_leaves_the_old_site(warm: Project) -> None:
    edit(warm.root / "book" / "waiting.md", "{term}`run`", "{term}`nun`")
    with pytest.raises(BuildError, match=r"book/waiting\.ipynb.*nun"):
        site.build(warm.root)
    assert (warm.html / "index.html").exists()


def test_misspelt_parameter_is_named_with_file_and_nearest(project: Project) -> None:
    (project.root / "params" / "quick" / "waiting.yml").write_text("horizn: 20\n")
    with pytest.raises(
        InputError, match=r"params/quick/waiting\.yml: unknown parameter 'horizn' \(did you mean 'horizon'"
    ):
        site.build(project.root)


def test_file_of_parameters_for_no_chapter_is_refused(project: Project) -> None:
    (project.root / "params" / "quick" / "wating.yml").write_text("horizon: 20\n")
    with pytest.raises(InputError, match=r"wating\.yml: belongs to no chapter \(did you mean 'waiting'\?\)"):
        site.build(project.root)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["horizn=3"],
            r"--set horizn: unknown parameter \(did you mean 'horizon'\?\); waiting has hazard, horizon, grid",
        ),
        (["horizon=many"], r"--set horizon: horizon = 'many' is not of type int"),
        (["horizon=true"], r"--set horizon: horizon = True is not of type int"),
        (["grid.stp=2"], r"--set grid\.stp: unknown key \(did you mean 'step'\?\)"),
        (["hazard.x=2"], r"--set hazard\.x: hazard is not a mapping"),
        (["horizon"], r"--set horizon: expected key=value"),
        (["horizon=[1"], r"--set horizon=\[1: the value is not valid YAML"),
        (["horizon=2024-13-45"], r"--set horizon=2024-13-45: the value is not valid YAML"),
    ],
)
def test_wrong_override_is_one_clear_line(project: Project, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        site.build(project.root, chapter="waiting", overrides=overrides)
    assert "\n" not in str(error.value)


def test_unknown_chapter_and_profile_are_named_with_what_there_is(project: Project) -> None:
    with pytest.raises(InputError, match=r"no chapter 'wating' \(did you mean 'waiting'\?\); there is index, waiting"):
        site.build(project.root, chapter="wating")
    with pytest.raises(InputError, match=r"no parameters 'ful' \(did you mean 'full'\?\); there is full, quick"):
        site.build(project.root, "ful")
    with pytest.raises(InputError, match="needs --chapter"):
        site.build(project.root, overrides={"horizon": 3})
    with pytest.raises(InputError, match="run this in the root folder"):
        site.build(project.root / "book")


def test_chapter_that_cannot_be_read_is_one_clear_line(project: Project) -> None:
    edit(project.root / "book" / "waiting.md", "caption: Survival", "caption: The law: survival")
    with pytest.raises(InputError, match=r"waiting\.md: Code cell 3 .* mapping values are not allowed here") as error:
        site.build(project.root)
    assert "\n" not in str(error.value)


def test_parameter_cell_holds_literal_assignments_only(project: Project) -> None:
    edit(project.root / "book" / "waiting.md", "horizon: int = 30", "horizon: int = 3 * 10")
    with pytest.raises(InputError, match=r"parameter cell: 'horizon: int = 3 \* 10' is not NAME = a literal value"):
        declared(project.chapter("waiting"))
    edit(project.root / "book" / "waiting.md", "horizon: int = 3 * 10", "horizon: int = (")
    with pytest.raises(InputError, match=r"waiting\.md: parameter cell: line 2: '\(' was never closed"):
        declared(Project(root=project.root).chapter("waiting"))


def test_a_parameter_given_twice_is_refused(project: Project) -> None:
    (project.root / "params" / "quick" / "waiting.yml").write_text("horizon: 20\nhorizon: 30\n")
    with pytest.raises(InputError, match=r"params/quick/waiting\.yml: horizon: given twice"):
        parameters(project)


def test_second_build_at_the_same_time_is_refused(project: Project) -> None:
    project.build.mkdir()
    with open(project.build / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match="another build is running"):
            site.build(project.root)


# What comes out


def test_parameters_come_from_chapter_then_file_then_overrides(project: Project) -> None:
    overrides = parse_overrides(["hazard=1", "grid.inner.first=2"])
    values = resolve(project.chapter("wait"), project.parameter_file("quick", project.chapter("waiting")), overrides)
    assert values == {"hazard": 1, "horizon": 20, "grid": {"step": 1, "inner": {"first": 2}}}


def test_override_builds_a_run_beside_the_site(warm: Project) -> None:
    page_of_site = warm.html / "book" / "waiting.html"
    before = page_of_site.read_bytes()
    page = site.build(warm.root, chapter="wait", overrides=["hazard=0.5"])
    assert page.is_relative_to(warm.build / "runs")
    assert "2.00 (95 % interval" in page.read_text()
    assert "quick (changed: hazard) parameters" in page.read_text()
    notebook = nbformat.read(next(page.parents[2].glob("waiting.ipynb")), as_version=4)
    injected = [cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert len(injected) == 1
    assert "hazard = 0.5" in injected[0]
    assert page_of_site.read_bytes() == before


def test_page_shows_numbers_run_time_provenance_and_download(small_site: Path) -> None:
    html = (small_site / "_build" / "html" / "book" / "waiting.html").read_text()
    text = re.sub(r"<[^>]+>", "", html)
    assert "The mean is 10.00 (95 % interval 8.50 to 11.25) epochs." in text
    assert re.search(r"Run time: [\d.]+ s on \d+ cores?, with the quick parameters", text)
    assert "Provenance: quick parameters" in text
    assert "Data: a formula" in text
    link = re.search(r'href="(\.\./_downloads/[0-9a-f]+/waiting\.ipynb)"', html)
    assert link is not None
    downloaded = nbformat.read(small_site / "_build" / "html" / "book" / link[1], as_version=4)
    assert any(cell.get("outputs") for cell in downloaded.cells)
    assert downloaded.metadata.kernelspec.name == "python3"
    nbformat.validate(downloaded)


def test_kernel_is_this_interpreter(project: Project) -> None:
    (project.root / "book" / "waiting.md").write_text(
        small_book.FRONT + "\n# Which?\n\n```{code-cell} ipython3\nimport sys\nprint(sys.executable)\n```\n"
    )
    (project.root / "params" / "quick" / "waiting.yml").unlink()
    executed = execute(project, project.chapter("waiting"), {})
    assert executed.notebook.cells[-1].outputs[0].text.strip() == sys.executable


def test_provenance_names_ensembles(warm: Project) -> None:
    found = find(warm, warm.chapter("waiting"), parameters(warm))
    assert found is not None
    entry = {
        "name": "digits",
        "overrides": {"perturbation": {"period": 20}},
        "digest": "0123456789abcdef",
        "runs": 64,
        "epochs": 100,
        "seed": 7,
        "origin": "trained for this page",
    }
    found.record["ensembles"].append(entry)
    box = pages.page(found, profile="quick").cells[-1].source
    assert "64 runs of 100 epochs, seed 7, trained for this page, digest `0123456789abcdef`" in box
    assert '`perturbation = {"period": 20}`' in box


# Charts and words


def test_chart_has_picture_description_and_escaped_data() -> None:
    made = render.bundle(CHART)
    assert made == render.bundle(CHART)
    assert made["text/plain"] == '[chart] Three points & a "line"'
    assert 'aria-label="Three points &amp; a &quot;line&quot;"' in made["text/html"]
    assert "<svg" in made["text/html"]
    assert made["text/html"].count("</script>") == 1
    payload = re.search(r'class="vl-spec">(.*?)</script>', made["text/html"])
    assert payload is not None
    assert json.loads(payload[1]) == CHART


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
    rows = [{"x": x % places, "y": x % 7} for x in range(1500)]
    made = render.bundle({**CHART, "mark": "point", "data": {"values": rows}})
    assert ("data:image/png;base64," in made["text/html"]) == image


def test_a_value_without_words_is_refused() -> None:
    with pytest.raises(InputError, match="cannot put list into words"):
        spell([1, 2])
