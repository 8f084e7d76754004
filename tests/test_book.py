"""The book's machinery: what is executed when, what is refused, and what ends up on the page."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

import small_book
from companion.book import spell, table
from companion.build import keys, pages, site
from companion.build.execute import Job, execute, find
from companion.build.parameters import declared
from companion.build.project import BuildError, Project
from fptlib import progress
from fptlib.errors import InputError


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Project:
    """A small project that was never built."""
    return Project(root=small_book.write(tmp_path, like=root))


@pytest.fixture
def warm(tmp_path: Path, small_site: Path) -> Project:
    """A copy of the small project with everything that its build left."""
    shutil.copytree(small_site, tmp_path / "warm")
    return Project(root=tmp_path / "warm")


def job(project: Project, name: str = "waiting", **overrides: Any) -> Job:
    """A chapter of the project as it is now."""
    fresh = Project(root=project.root)
    return Job.of(fresh, fresh.chapter(name), "quick", overrides)


def written(project: Project) -> dict[str, int]:
    """Executed notebooks in the cache, with the time at which they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (project.build / "cache").glob("*.ipynb")}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# What is executed when


def test_second_build_executes_nothing_and_keeps_the_pages(warm: Project) -> None:
    before = written(warm)
    page = (warm.html / "book" / "waiting.html").stat().st_mtime_ns
    site.build(warm.root)
    assert written(warm) == before
    assert (warm.html / "book" / "waiting.html").stat().st_mtime_ns == page


def test_edit_of_prose_executes_nothing_and_shows(warm: Project) -> None:
    before = written(warm)
    edit(warm.root / "book" / "waiting.md", "A {term}`run` waits", "Every {term}`run` of ours waits")
    site.build(warm.root)
    assert written(warm) == before
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
    assert find(job(warm)) is not None
    edit(warm.root / path, old, new)
    assert find(job(warm)) is None
    assert find(job(warm, "index")) is not None


@pytest.mark.parametrize("name", ["params/ensembles/digits.yml", "examples/own.py", "book/results/table.csv"])
def test_files_that_cells_read_are_part_of_the_key(project: Project, name: str) -> None:
    before = job(project).key
    (project.root / name).parent.mkdir(parents=True)
    (project.root / name).write_text("runs: 3\n")
    assert job(project).key != before


def test_versions_and_data_are_part_of_the_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [job(project).key]
    monkeypatch.setattr(keys, "versions", lambda: {"python": "4"})
    made.append(job(project).key)
    monkeypatch.setattr(keys.sources, "fingerprint", lambda: "other data")
    made.append(job(project).key)
    assert len(set(made)) == 3


def test_the_libraries_are_part_of_the_key_but_for_what_no_chapter_imports(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in keys.PACKAGES_OF_CHAPTERS:
        shutil.copytree(keys.ROOT / name, tmp_path / name)
    monkeypatch.setattr(keys, "ROOT", tmp_path)
    monkeypatch.setattr(keys, "library_digest", getattr(keys.library_digest, "__wrapped__", keys.library_digest))
    before, everything = keys.library_digest(), keys.library_digest(everything=True)
    for name in keys.NOT_OF_CHAPTERS:
        path = tmp_path / name if name.endswith(".py") else tmp_path / name / "__init__.py"
        path.write_text("# another site\n")
    assert keys.library_digest() == before
    assert keys.library_digest(everything=True) != everything
    (tmp_path / "companion" / "book.py").write_text("# another library\n")
    assert keys.library_digest() != before
    chapters = "".join(path.read_text() for path in (root / "book").glob("[0-9]*.md"))
    names = "|".join(name.removesuffix(".py").replace("/", r"\.") for name in keys.NOT_OF_CHAPTERS)
    assert not re.search(rf"(import|from) ({names})\b|from fptlib import [^\n]*\breport\b", chapters)


def test_two_executions_are_byte_identical_also_at_the_same_time(warm: Project) -> None:
    cache = warm.build / "cache"
    before = {path.name: path.read_bytes() for path in cache.glob("*.ipynb")}
    shutil.rmtree(cache)
    site._execute_together([job(warm, chapter.name) for chapter in warm.chapters], 2)
    assert {path.name: path.read_bytes() for path in cache.glob("*.ipynb")} == before


def test_parameters_and_key_of_a_chapter_are_determined_once(warm: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for module, name in ((keys, "chapter_key"), (sys.modules[declared.__module__], "declared")):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=original, n=name: calls.append(n) or f(*a))  # type: ignore[func-returns-value]
    site.build(warm.root)
    assert sorted(calls) == ["chapter_key"] * 2 + ["declared"] * 2


# What is refused


@pytest.mark.slow
def test_failing_cell_fails_the_build_and_is_named(project: Project) -> None:
    edit(project.root / "book" / "waiting.md", 'book.uses("a formula")', "shares = 1 / 0")
    with pytest.raises(
        BuildError, match=r"waiting\.md: cell 2 \('import altair as alt'\) fails: ZeroDivisionError"
    ) as error:
        site.build(project.root)
    assert "shares = 1 / 0" in str(error.value)
    assert not any("waiting" in path.name for path in (project.build / "cache").iterdir())
    assert not project.html.exists()


@pytest.mark.slow
def test_value_that_a_cell_refuses_is_one_line(project: Project) -> None:
    edit(
        project.root / "book" / "waiting.md",
        'book.uses("a formula")',
        "raise ValueError('horizon: 0\\n is impossible')",
    )
    with pytest.raises(BuildError) as error:
        site.build(project.root, jobs=2)
    assert str(error.value) == "horizon: 0 is impossible (waiting.md: cell 2 ('import altair as alt'))"
    # What was executed is kept: the next build goes on.
    assert find(job(project, "index")) is not None


@pytest.mark.slow
def test_cell_that_writes_to_stderr_fails_the_build(project: Project) -> None:
    edit(
        project.root / "book" / "waiting.md", 'book.uses("a formula")', "import warnings; warnings.warn('mind the gap')"
    )
    with pytest.raises(BuildError, match=r"cell 2 .* writes to stderr(.|\n)*mind the gap"):
        execute(job(project))
    assert find(job(project)) is None


def test_broken_reference_fails_the_build_and_leaves_the_old_site(warm: Project) -> None:
    edit(warm.root / "book" / "waiting.md", "{term}`run`", "{term}`nun`")
    with pytest.raises(BuildError, match=r"book/waiting\.ipynb.*nun"):
        site.build(warm.root)
    assert (warm.html / "index.html").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "waiting",
            "horizn: 20",
            r"waiting\.yml: unknown parameter 'horizn'; did you mean 'horizon'\? known: hazard, ",
        ),
        ("waiting", "horizon: 20\nhorizon: 30", r"waiting\.yml: .*horizon: given twice"),
        ("waiting", "horizon: 2.5", r"waiting\.yml: horizon = 2\.5 is not of type int"),
        ("wating", "horizon: 20", r"wating\.yml: belongs to no chapter; did you mean 'waiting'\?"),
    ],
)
def test_wrong_file_of_parameters_is_one_clear_line(project: Project, name: str, text: str, message: str) -> None:
    (project.root / "params" / "quick" / f"{name}.yml").write_text(f"{text}\n")
    with pytest.raises(InputError, match=message) as error:
        site.build(project.root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"horizn": 3}, r"--set horizn: unknown parameter; did you mean 'horizon'\? known: hazard, horizon, grid"),
        ({"horizon": "many"}, r"--set horizon: horizon = 'many' is not of type int"),
        ({"horizon": True}, r"--set horizon: horizon = True is not of type int"),
        ({"grid.stp": 2}, r"--set grid\.stp: unknown key; did you mean 'step'\?"),
        ({"hazard.x": 2}, r"--set hazard\.x: hazard is not a mapping"),
    ],
)
def test_wrong_override_is_one_clear_line(project: Project, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        site.build(project.root, chapter="waiting", overrides=overrides)
    assert "\n" not in str(error.value)


def test_number_before_the_name_of_a_chapter_is_ignored(project: Project) -> None:
    assert project.chapter("03_waiting") == project.chapter("waiting")


def test_table_is_in_words_and_folds_its_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("companion.book._display", shown.append)
    table(
        pd.DataFrame({"period": [5, 10, 20], "best_in": [1.25, None, float("nan")]}).rename_axis(columns="quantity"),
        names={"best_in": "best in"},
        rows=2,
    )
    page = shown[0]["text/html"]
    assert page.count("<tr") == 5
    assert "<th>best in</th>" in page
    assert "1 more row</summary>" in page
    assert not {"nan", "None", "best_in", "period", "quantity"} & set(re.findall(r"\w+", page))


def test_unknown_chapter_and_profile_are_named_with_what_there_is(project: Project) -> None:
    with pytest.raises(InputError, match=r"no chapter 'wating'; did you mean 'waiting'\? known: index, waiting"):
        site.build(project.root, chapter="wating")
    with pytest.raises(InputError, match=r"no parameters 'ful'; did you mean 'full'\? known: full, quick"):
        site.build(project.root, "ful")
    with pytest.raises(InputError, match="needs --chapter"):
        site.build(project.root, overrides={"horizon": 3})
    with pytest.raises(InputError, match="not the root folder"):
        site.build(project.root / "book")


def test_chapter_that_cannot_be_read_is_one_clear_line(project: Project) -> None:
    edit(project.root / "book" / "waiting.md", "caption: Survival", "caption: The law: survival")
    with pytest.raises(InputError, match=r"waiting\.md: Code cell 3 .* mapping values are not allowed here") as error:
        site.build(project.root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", ["horizon: int = 3 * 10", "horizon: int = (", "print(horizon)", "horizon = grid = 3"])
def test_parameter_cell_holds_literal_assignments_only(project: Project, line: str) -> None:
    edit(project.root / "book" / "waiting.md", "horizon: int = 30    # epochs", line)
    with pytest.raises(
        InputError, match=r"waiting\.md: parameter cell, at .*: each line must be NAME = a literal value"
    ):
        declared(project.chapter("waiting"))


def test_second_build_at_the_same_time_is_refused(project: Project) -> None:
    project.build.mkdir()
    with open(project.build / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match="another build is running"):
            site.build(project.root)


# What comes out


def test_parameters_come_from_chapter_then_file_then_overrides(project: Project) -> None:
    requested = job(project, "wait", hazard=1, **{"grid.inner.first": 2})
    grid = {"step": 1, "inner": {"first": 2}}
    assert requested.parameters == {"hazard": 1, "horizon": 20, "grid": grid}
    assert requested.changed == requested.parameters
    assert job(project).changed == {"horizon": 20}


def test_parameters_of_the_real_chapters_are_understood(root: Path) -> None:
    for chapter in Project(root=root).chapters:
        for name, parameter in declared(chapter).items():
            assert parameter.kind in {"int", "float", "str", "bool", "list", "dict"}, f"{chapter.name}: {name}"


def test_override_builds_a_run_beside_the_site(warm: Project) -> None:
    page_of_site = warm.html / "book" / "waiting.html"
    before = page_of_site.read_bytes()
    page = site.build(warm.root, chapter="wait", overrides={"hazard": 0.5})
    assert page.is_relative_to(warm.build / "runs")
    assert "2.00 (95 % interval" in page.read_text()
    assert "quick (changed: hazard) parameters" in page.read_text()
    text = " ".join(re.sub(r"<[^>]+>", " ", page.read_text()).split())
    assert "This run: hazard = 0.5 instead of 0.1; 1 of 1 numbers differ" in text
    assert "The mean is […] epochs. 10.00 (95 % interval 8.50 to 11.25) 2.00 (95 % interval 8.50 to 11.25)" in text
    index = warm.build / "runs" / "index.html"
    (listed,) = re.findall(r'<td><a href="([^"]+)">Waiting</a></td><td>hazard = 0\.5</td>', index.read_text())
    assert (index.parent / listed).resolve() == page
    notebook = nbformat.read(next(page.parents[2].glob("waiting.ipynb")), as_version=4)
    (injected,) = [cell.source for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert "hazard = 0.5" in injected
    assert page_of_site.read_bytes() == before


def test_page_alone_speaks_of_other_pages_as_the_site_does_or_in_plain_words(warm: Project, project: Project) -> None:
    edit(project.root / "book" / "glossary.md", "# Glossary", "(words)=\n# Glossary of `runs`")
    for built in (warm, project):
        edit(built.root / "book" / "waiting.md", "A {term}", "See {ref}`words`, {numref}`fig-survival`. A {term}")
        shown = (built.html / "book" / "waiting.html").exists()
        page = site.build(built.root, chapter="waiting", overrides={"hazard": 0.5})
        assert [path.name for path in page.parent.glob("*.html")] == ["waiting.html"]
        html = page.read_text()
        text = re.sub(r"<[^>]+>", "", html)
        assert re.search(r"Fig\. 1", text)
        if shown:  # the site links the term; what it does not know yet is said in words
            assert re.search(r'href="\.\./\.\./\.\./\.\./html/book/glossary\.html#term-run"[^>]*>run</a>', html)
        else:
            assert "See “Glossary of runs”, " in text
            assert "A run waits" in text
        assert (page.parent / "../../../../html/book/glossary.html").exists() == shown


def test_chapters_are_numbered_over_all_parts(project: Project) -> None:
    toc = (project.root / "_toc.yml").read_text().replace("chapters:", "parts:\n- numbered: true\n  chapters:")
    (project.root / "_toc.yml").write_text(toc)
    built = Project(root=project.root)
    assert [built.number(document) for document in built.documents] == [None, 1, 2]
    page = site.build(project.root, chapter="waiting").read_text()
    text = re.sub(r"<[^>]+>", "", page)
    assert "1. Waiting" in text
    assert "Fig. 1.1" in text
    assert "Equation (1.1) is drawn" in text


def test_page_shows_numbers_run_time_provenance_and_download(small_site: Path) -> None:
    html = (small_site / "_build" / "html" / "book" / "waiting.html").read_text()
    text = re.sub(r"<[^>]+>", "", html)
    assert "The mean is 10.00 (95 % interval 8.50 to 11.25) epochs." in text
    assert re.search(r"Run time: [\d.]+ s on \d+ cores?, with the quick parameters", text)
    assert "Provenance: quick parameters" in text
    assert "Data: a formula" in text
    assert re.search(r"horizon\s*20\s*epochs", text)
    folded = text.partition("Code of this page")[2]
    assert "import altair" in folded
    link = re.search(r'href="(\.\./_downloads/[0-9a-f]+/waiting\.ipynb)"', html)
    assert link is not None
    downloaded = nbformat.read(small_site / "_build" / "html" / "book" / link[1], as_version=4)
    assert any(cell.get("outputs") for cell in downloaded.cells)
    assert downloaded.metadata.kernelspec.name == "python3"
    nbformat.validate(downloaded)


def test_kernel_is_this_interpreter(project: Project) -> None:
    cell = "```{code-cell} ipython3\nimport sys\nprint(sys.executable)\n```\n"
    (project.root / "book" / "waiting.md").write_text(f"{small_book.FRONT}\n# Which?\n\n{cell}")
    (project.root / "params" / "quick" / "waiting.yml").unlink()
    assert execute(job(project)).notebook.cells[-1].outputs[0].text.strip() == sys.executable


def test_provenance_names_ensembles(warm: Project) -> None:
    executed = find(job(warm))
    assert executed is not None
    entry = {"name": "digits", "overrides": {"perturbation": {"period": 20}}, "digest": "0123456789abcdef"}
    entry |= {"runs": 64, "epochs": 100, "seed": 7, "origin": "trained for this page"}
    executed = dataclasses.replace(executed, record={**executed.record, "ensembles": [entry]})
    *_, code, last = pages.page(executed, profile="quick").cells
    box = last.source
    # Cells may be commands of a shell.
    assert "`````ipython3\nimport altair" in code.source
    assert "64 runs of 100 epochs, seed 7, trained for this page, digest `0123456789abcdef`" in box
    assert '`perturbation = {"period": 20}`' in box


def test_a_value_without_words_is_refused() -> None:
    with pytest.raises(InputError, match="cannot put list into words"):
        spell([1, 2])


def test_progress_shows_on_the_terminal_that_the_builder_names_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    screen, terminal = os.openpty()
    places = "", str(tmp_path / "log"), os.ttyname(terminal)
    for place in places:
        monkeypatch.setenv(progress.PROGRESS_VARIABLE, place)
        with progress.bar(2, "training") as steps:
            steps.update()
    assert b"training" in os.read(screen, 1000)
    assert (tmp_path / "log").read_text() == ""
    assert capfd.readouterr() == ("", "")
    for file in filter(None, map(progress._terminal, places)):
        file.close()
    progress._terminal.cache_clear()
    os.close(screen)
    os.close(terminal)
