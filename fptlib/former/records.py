r"""Reasons for or against a prediction from the records of two ensembles.

The forms take runs perturbed at one epoch for runs perturbed at another. That needs training to be the same at every epoch, which the
metric cannot show: a learning rate that falls, or a perturbation that is another one at another period, may leave the survivors'
accuracy as it was. A store of this library says how its runs were trained (`fptlib.trajectories.origin`); of foreign logs nothing is known.

With such a record a prediction is *unverified*: whichever way the error came out, valid or not valid, it was computed as if training
were the same at every epoch, so it shows neither. *Not valid* would claim that an error beyond the tolerance was shown, and nothing was.
What needs no such ground stays as it is: a measurement at its own period (form 1 holds for any process), a mean that cannot leave
the tolerance whatever the perturbation does, and what two measured periods say of each other and of what lies between. A full reset
under a schedule that goes on is no restart: form 4 is then one more prediction without ground, and an ensemble perturbed so is treated
like any other. Where the learning rate stops changing before the earlier of the two epochs, there is no doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fptlib.errors import InputError
from fptlib.trajectories import Trajectories
from fptlib.trajectories.origin import Origin


@dataclass(frozen=True, slots=True)
class Records:
    """Records of ensembles used together, up to their common horizon.

    Parameters
    ----------
    horizon
        Last epoch that counts.
    origins
        Of the unperturbed ensemble and, where there is one, of the perturbed ensemble.
    """

    horizon: int
    origins: tuple[Origin, ...]

    @classmethod
    def of(cls, *ensembles: Trajectories) -> Records:
        """Read the records of ensembles."""
        return cls(min(runs.n_epochs for runs in ensembles), tuple(Origin.of(runs) for runs in ensembles))

    @property
    def full_restart(self) -> bool:
        """True if the perturbation puts everything back to the start: a full reset, and no schedule that goes on."""
        return self.origins[-1].full_reset and self.moving(0) is None

    def moving(self, after: int) -> str | None:
        """Return why training is not the same at all epochs after ``after``; ``None`` where no record says so."""
        for origin in self.origins:
            steady = origin.steady_from(self.horizon)
            if steady is None or steady > after + 1:
                return origin.schedule_in_words(self.horizon)
        return None

    def doubt_anywhere(self) -> str | None:
        """Return why runs perturbed at one epoch may not be informative about others; ``None`` where no record speaks against it."""
        schedule = self.moving(1)
        if schedule is not None:
            return f"{schedule}: training is not the same after a perturbation at one epoch as at another"
        return self._tied("at other epochs")

    def _tied(self, otherwise: str) -> str | None:
        rule = self.origins[-1]
        if not rule.tied_to_period:
            return None
        name = rule.perturbation.get("name")
        return f"{name} anneals the learning rate over its period of {rule.period} epochs: {otherwise} it is another perturbation"

    def doubt(self, period: int, measured: int) -> str | None:
        """Return why runs perturbed with one period may not be informative about another; ``None`` where no record speaks against it."""
        if period == measured:
            return None
        schedule = self.moving(min(period, measured))
        if schedule is not None:
            return f"{schedule}: training is not the same after epoch {period} as after epoch {measured}, where it was perturbed"
        return self._tied(f"every {period}")


def check_labels(
    unperturbed: Trajectories, measured: Sequence[tuple[int, Trajectories]], *, once: bool = False
) -> None:
    """Compare what ensembles are taken for with their records.

    Parameters
    ----------
    unperturbed
        Runs taken to be without perturbation.
    measured
        Period, and runs taken to be perturbed with it.
    once
        Whether these may have been perturbed at their period only.

    Raises
    ------
    InputError
        If a record says otherwise. Without a record nothing is refused.
    """
    origin = Origin.of(unperturbed)
    if origin.perturbation and (origin.period is None or origin.period < unperturbed.n_epochs):
        raise InputError(
            f"the runs given as unperturbed were perturbed ({_rule(origin)}), says their record: were the two ensembles swapped?"
        )
    for period, runs in measured:
        origin = Origin.of(runs)
        if origin.unperturbed:
            raise InputError(
                f"the runs given as perturbed at epoch {period} were trained without perturbation, says their record"
            )
        if not origin.perturbation:
            continue
        if origin.repeat != "periodic" and not (once and origin.repeat == "once"):
            remedy = "means under a period need runs perturbed again and again"
            raise InputError(f"the perturbed runs were perturbed {_rule(origin)}, says their record; {remedy}")
        if origin.period not in (None, period):
            raise InputError(f"the runs given as perturbed at epoch {period} have {_rule(origin)} in their record")


def oddities(unperturbed: Trajectories, perturbed: Trajectories, name: str) -> tuple[str, ...]:
    """Return sentences on differences in training between the two ensembles, beside the perturbation."""
    differences = [*Origin.of(unperturbed).differences(Origin.of(perturbed))]
    if not differences:
        return ()
    listed = ", ".join(f"{key} ({_value(one)} and {_value(other)})" for key, one, other in differences)
    return (f"The runs without perturbation and those of {name} were not trained alike: {listed}.",)


def _value(value: object) -> str:
    return "the default" if value is None else str(value)


def _rule(origin: Origin) -> str:
    name = origin.perturbation.get("name", "a perturbation")
    return (
        f"{name} every {origin.period} epochs"
        if origin.repeat == "periodic"
        else f"{name} at epoch {origin.period} only"
    )
