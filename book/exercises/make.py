"""Write the two files of accuracies beside this script: ``python book/exercises/make.py``; trains what is not in the store."""

from pathlib import Path

from companion import book
from fptlib.files import write_atomically

HERE = Path(__file__).parent
SHRINK_PERTURB = {"name": "shrink_perturb", "shrink": 0.4, "perturb": 0.1, "period": 30}


def table(runs: int, **changes: object) -> str:
    """Return one line for each run and epoch of the digits network: run, epoch, test accuracy."""
    accuracy = book.ensemble("digits_bn", runs=runs, **changes).metric()  # (runs, epochs)
    lines = [
        f"{run},{epoch + 1},{accuracy[run, epoch]:.4f}" for run in range(runs) for epoch in range(accuracy.shape[1])
    ]
    return "\n".join(["run,epoch,accuracy", *lines, ""])


if __name__ == "__main__":
    for name, text in (("unperturbed", table(200)), ("perturbed", table(96, perturbation=SHRINK_PERTURB))):
        write_atomically(HERE / f"{name}.csv", lambda file, text=text: file.write(text.encode()))
