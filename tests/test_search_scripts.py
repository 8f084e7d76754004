"""`fpt optimise --run`: a script of somebody's own, whatever happens to it."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fptlib import cli
from fptlib.cli.scripts import Runs
from fptlib.errors import InputError
from fptlib.trajectories import Target
from known import wait_for

# A run passes with 1/100 at each epoch from the tenth on, with 1/3 from the third epoch after it was shrunk; noise moves its metric only.
SCRIPT = """
import random, sys
from pathlib import Path
seed, epochs, rule, every, log, threshold = sys.argv[1:]
with Path(__file__).with_name("calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:5]) + "\\n")
draw, shrunk, noise, lines = random.Random(int(seed)), None, 0, ["epoch,acc,loss"]
for epoch in range(1, int(epochs) + 1):
    chance = draw.random()
    passed = chance < (0.01 if epoch > 9 else 0) if shrunk is None else chance < 1 / 3 and epoch > shrunk + 2
    lines.append(f"{epoch},{0.95 if passed else 0.5 + chance / 10 + noise:.4f},{1 - chance:.4f}")
    if passed and threshold != "never":
        break
    if rule.startswith("shrink") and epoch % int(every) == 0:
        shrunk = epoch
    noise = 0.01 * (rule == "noise" and epoch >= int(every))
EXTRA
print("trained", flush=True)
Path(log).write_text("\\n".join(lines) + "\\n")
"""


class Folder:
    """A folder with a script, and `fpt optimise --run` in it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys
        self.write()

    def write(self, extra: str = "") -> None:
        (self.path / "train.py").write_text(SCRIPT.replace("EXTRA", extra))

    def arguments(self, out: str | None = "logs", threshold: str = "{threshold}", **options: Any) -> list[str]:
        placed = "{seed} {epochs} {perturbation} {period} {log}"
        given = {
            "run": f"'{sys.executable}' -S -E '{self.path}/train.py' {placed} {threshold}",
            "candidates": "shrink:factor=0.5 noise", "threshold": 0.9, "metric": "acc", "horizon": 40, "budget": 1500,
            "periods": "4,8,16", "out": out and self.path / out, **options,
        }  # fmt: skip
        pairs = ([f"--{name}", str(value)] for name, value in given.items() if value is not None)
        return ["optimise", *(word for pair in pairs for word in pair), "--json"]

    def run(self, **options: Any) -> tuple[int, dict[str, Any], str]:
        status = cli.run(self.arguments(**options))
        out, err = self.capsys.readouterr()
        return status, json.loads(out) if out else {}, err.strip()

    @property
    def calls(self) -> list[str]:
        calls = self.path / "calls"
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path, capsys)


@pytest.mark.slow
def test_it_finds_the_choice_and_runs_nothing_twice(folder: Folder) -> None:
    status, result, err = folder.run()
    assert status == 0
    assert (result["choice"]["perturbation"], result["choice"]["period"]) == ("shrink", 4)
    assert set(result) > {"choice", "next", "spent", "cells"}
    assert result["target"] == {"threshold": 0.9, "direction": "above", "metric": "acc"}
    assert result["spent"] <= 1500
    logs = {str(path.relative_to(folder.path / "logs")): path for path in (folder.path / "logs").glob("*/*/log.csv")}
    assert "none/seed0-epochs16/log.csv" in logs
    assert any(name.startswith("shrink_factor=0.5-every4/seed") for name in logs)
    lengths = [len(path.read_text().splitlines()) - 1 for path in logs.values()]
    calls = folder.calls
    runs = {(*call.split()[2:], call.split()[0]): 0 for call in calls}
    assert len(logs) == len(runs) < len(calls) == len(set(calls))  # a longer log replaces the shorter one of its run
    assert result["spent"] > sum(lengths)
    assert err == f"{result['spent']} run-epochs trained by this call"
    assert {tuple(call.split()[2:]) for call in calls if call.split()[2] == "none"} == {("none", "0")}
    assert {call.split()[2] for call in calls} == {"none", "noise", "shrink:factor=0.5"}  # as they were given
    again = folder.run()
    assert again == (0, result, "0 run-epochs trained by this call; the others had been trained before")
    assert folder.calls == calls
    assert folder.run(out="others", jobs=3)[1] == result  # whatever ends first
    more = folder.run(budget=2500)[1]
    assert more["steps"][: len(result["steps"]) - 1] == result["steps"][:-1]
    assert len(set(folder.calls[2 * len(calls) :])) == len(folder.calls) - 2 * len(calls)


@pytest.mark.slow
def test_what_is_killed_goes_on_and_loses_what_was_in_flight_only(folder: Folder, root: Path) -> None:
    expected = folder.run(out="undisturbed")[1]
    alone = len(folder.calls)
    command = [sys.executable, "-m", "fptlib", *folder.arguments(jobs=2)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(folder.calls) > alone + 12, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    status, result, _ = folder.run(jobs=2)
    assert (status, result) == (0, expected)
    assert len(folder.calls) <= 2 * alone + 2
    assert not (folder.path / "logs" / ".running").exists()


@pytest.mark.slow
def test_an_interrupted_search_ends_its_scripts(folder: Folder, root: Path) -> None:
    folder.write("import os, time\nPath(__file__).with_name('pid').write_text(f'{os.getpid()}.')\ntime.sleep(600)")
    process = subprocess.Popen(
        [sys.executable, "-m", "fptlib", *folder.arguments()],
        cwd=root,
        # A shell that runs the tests in the background has it ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    pid = folder.path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text().endswith("."), process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()[:-1]), 0)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("sys.exit('no such device')", r"failed with status 1; the end of \S+output\.txt: no such device$"),
        ("lines = lines[:5]", r"logged 4 epochs; 16 were asked for, or fewer that reach 0\.9; the end .*: trained$"),
        ("lines += lines[1:]; lines[17:] = [f'{16 + i},0.1,0.2' for i in range(1, 4)]", "logged 19 epochs; 16 were"),
        ("log = log + '.txt'", r"wrote no log; the end of \S+output\.txt: trained$"),
        ("lines[-1] = '16,nan,0.1'", r"acc is nan at epoch 16"),
        ("lines[3] = '3,much,0.1'", r"log\.csv, line 4: acc is 'much'"),
        (r"sys.exit('first\n' + 'x' * 1000)", r"first / x{300} \(and 700 more characters\)$"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            r"was ended by signal 9; the end of \S+output\.txt: nothing",
        ),
    ],
)
def test_a_script_that_fails_ends_the_search_in_one_line(folder: Folder, extra: str, message: str) -> None:
    folder.write(f"if seed == '3':\n    {extra}")
    status, result, err = folder.run()
    assert (status, result) == (1, {})
    assert re.fullmatch(rf"fpt: \S+ -S -E \S+train\.py 3 16 none 0 \S+log\.csv 0\.9: .*{message}.*", err)
    kept = {path.name for path in (folder.path / "logs" / "none").iterdir()}
    assert kept == {f"seed{k}-epochs16" for k in range(3)}
    assert not (folder.path / "logs" / ".running").exists()
    assert [path.name for path in (folder.path / "logs" / "failed").iterdir()] == ["none-seed3-epochs16"]
    assert all(Path(path).exists() for path in re.findall(r"the end of (\S+): ", err))


def test_a_script_that_ignores_its_seed_ends_the_search(folder: Folder) -> None:
    (folder.path / "train.py").write_text(SCRIPT.replace("int(seed)", "3").replace("EXTRA", ""))
    status, result, err = folder.run()
    assert (status, result) == (1, {})
    assert re.search(r"all 8 unperturbed runs are equal over .* does training use the seed\?$", err)


def test_an_evaluation_before_training_is_no_epoch(folder: Folder) -> None:
    folder.write("lines.insert(1, '0,0.1,0.9')")
    status, _, err = folder.run()
    assert status == 1
    assert "logged 17 epochs; 16 were asked for" in err
    assert "--epoch-zero before leaves it out" in err
    status, result, _ = folder.run(budget=200, **{"epoch-zero": "before"})
    assert status == 0
    folder.write()
    assert folder.run(out="without", budget=200)[1] == result


def test_a_search_that_failed_gives_its_folder_back(folder: Folder) -> None:
    folder.write("sys.exit(3)")
    gc.disable()  # else the failed search, kept by its traceback, might be collected in between
    try:
        for _ in range(2):
            status, _, err = folder.run()
            assert (status, "failed with status 3" in err) == (1, True), err
    finally:
        gc.enable()


def test_other_runs_are_ended_with_the_one_that_fails(folder: Folder) -> None:
    folder.write("import time\nif seed == '1':\n    sys.exit(3)\nif seed == '0':\n    time.sleep(600)")
    status, _, err = folder.run(jobs=2)
    assert status == 1
    assert "train.py 1 16 none 0" in err
    assert "status 3" in err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"metric": "accuracy"}, 1, r"no metric 'accuracy'; there is acc, loss$"),
        ({"metric": None}, 1, r"which metric\? name one of acc, loss"),
        ({"run": "no-such-command {seed} {epochs} {perturbation} {period} {log}"}, 1, "status 127.*no-such-command: No such"),
        ({"run": "train {seed} {log}"}, 2, r"\{epochs\} is missing, \{perturbation\} is missing, \{period\} is missing; \{seed\}, "),
        ({"run": "t {seed} {epochs} {perturbation} {period} {log} {lr}"}, 2, r"\{lr\} is not known; .*threshold\} is allowed"),
        ({"run": "t '{seed} {epochs} {perturbation} {period} {log}"}, 2, "a quotation mark is not closed"),
        ({"run": "t {seed {epochs} {perturbation} {period} {log}"}, 2, "--run: a brace stands alone, or"),
        ({"run": "t {seed:x!} {epochs} {perturbation} {period} {log}"}, 2, "--run: a brace stands alone, or"),
        ({"run": None}, 2, "either PARAMS.yml or --run 'COMMAND' is needed"),
        ({"horizon": None}, 2, "--run needs --horizon"),
        ({"out": None}, 2, "--out, a folder for the logs"),
        ({"jobs": 0}, 2, "--jobs 0"),
        ({"workers": 2}, 2, "--workers does not go with --run"),
        ({"candidates": "a:b=1 a_b=1"}, 2, "names that differ"),
        ({"candidates": "none"}, 2, "none is the name of unperturbed runs"),
        ({"run": "cd x && t {seed} {epochs} {perturbation} {period} {log}"}, 2, "no shell runs this; write sh -c"),
        ({"run": "A=1 t {seed} {epochs} {perturbation} {period} {log}"}, 2, "no shell runs this; write sh -c"),
        ({"budget": 5}, 2, "budget 5 is too small"),
    ],
)  # fmt: skip
def test_it_refuses(folder: Folder, options: dict[str, Any], status: int, message: str) -> None:
    result = folder.run(**options)
    assert result[0] == status
    err = result[2]
    assert re.search(message, err), err
    assert len(err.strip().splitlines()) == 1
    assert not folder.calls or status == 1


@pytest.mark.slow
def test_workers_of_a_cluster_run_the_commands(folder: Folder) -> None:
    from distributed import LocalCluster

    expected = folder.run(out="here", budget=700)[1]
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as workers:
        status, result, _ = folder.run(budget=700, scheduler=workers.scheduler_address)
        assert (status, result) == (0, expected)
        folder.write("sys.exit(4)")
        status, _, err = folder.run(out="failing", scheduler=workers.scheduler_address)
    assert status == 1
    assert "failed with status 4" in err


def test_a_folder_belongs_to_one_command_and_one_search_at_a_time(folder: Folder) -> None:
    how: dict[str, Any] = {"folder": folder.path / "logs", "target": Target(0.9), "candidates": ["a b"]}
    command = "train {seed} {epochs} {perturbation} {period} {log}"
    runs = Runs(command, **how)
    with pytest.raises(InputError, match="another search is at work in this folder"):
        Runs(command, **how)
    del runs
    with pytest.raises(InputError, match=r"holds logs of another command, train \{seed\}"):
        Runs(command + " --fast", **how)
