"""Perturbations of parts of a network: its last layer, and hidden units that are hardly ever active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from fptlib.errors import InputError
from fptlib.models.structure import HiddenLayer, activity
from fptlib.perturbations.base import Context, Perturbation, State
from fptlib.perturbations.needs import Need, needed


@final
@dataclass(frozen=True, slots=True)
class LastLayerReset(Perturbation):
    """Draw the output layer afresh; what is below it stays.

    Notes
    -----
    ``theta_L <- theta_L,fresh`` for the weights and shifts of the last layer ``L`` (`fptlib.models.Network.output_layer`),
    from the network's own initialisation. In RIFLE the layer is redrawn several times while a pre-trained network is
    fine-tuned, with a learning rate that restarts each time; here only the layer is.

    References
    ----------
    X. Li, H. Xiong, H. An, C. Xu, D. Dou, "RIFLE: Backpropagation in Depth for Deep Transfer Learning through
    Re-Initializing the Fully-connected LayEr", ICML 2020.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"network"})

    def apply(self, state: State, context: Context) -> State:
        """State with a fresh output layer."""
        layer = needed(context.network, "to know the network", self).output_layer
        fresh, _ = context.fresh()
        redrawn = {name: fresh[name] for name in state.parameters if name.rpartition(".")[0] == layer}
        if not redrawn:
            raise InputError(
                f"perturbation: last_layer_reset finds no trained parameter of {layer!r}, which the network calls its "
                f"output layer; parameters: {', '.join(state.parameters)}"
            )
        return replace(state, parameters={**state.parameters, **redrawn})


@final
@dataclass(frozen=True, slots=True)
class DormantReset(Perturbation):
    """Draw the incoming weights of dormant units afresh and set their outgoing weights to zero.

    Parameters
    ----------
    tau
        Units are dormant whose mean absolute activation on the probe is at most ``tau`` times the mean over their layer,
        0 or more. With 0 only units that are never active are.

    Notes
    -----
    With the score ``s_i = a_i / mean_j a_j``, ``a_i = E_x |h_i(x)|``, a unit with ``s_i <= tau`` has ``w_in <- w_fresh`` and
    ``w_out <- 0``, and its gain, shift and running averages of a normalisation go back to initial values. Activations are what the next
    layer is given, in evaluation; for convolutions they are averaged over the pixels. The output of a network whose dormant
    units are dead, and not coupled to others by layer normalisation, stays as it is on the probe.

    MLPs and CNNs have all of their hidden units looked at, residual networks those inside their blocks
    (`fptlib.models.Network.hidden_layers`). The original clears the optimiser's moments of the units that it recycles; here
    ``fresh_optimiser`` clears all of them, or none.

    References
    ----------
    G. Sokar, R. Agarwal, P. S. Castro, U. Evci, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning", ICML 2023.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"network", "probe"})
    tau: float

    def dormant(self, state: State, context: Context) -> list[tuple[HiddenLayer, Tensor]]:
        """Which units are dormant: ``(runs, units)``, for each hidden layer."""
        network = needed(context.network, "to know the network", self)
        x, _ = needed(context.probe, "inputs to probe it with", self)
        layers = network.hidden_layers()
        if not layers:
            raise InputError(
                f"perturbation: dormant_reset needs hidden units, and {type(network).__name__} names none; its class needs a "
                "method hidden_layers (fptlib.models.structure.chain gives those of a plain chain of layers)"
            )
        active = activity(network.template(), layers, state.parameters, state.buffers, x)
        # Compared without dividing: in a layer that is never active all units are dormant.
        return [(layer, a <= self.tau * _row_means(a)) for layer, a in zip(layers, active, strict=True)]

    def apply(self, state: State, context: Context) -> State:
        """State with its dormant units recycled."""
        fresh, fresh_buffers = context.fresh()
        parameters, buffers = dict(state.parameters), dict(state.buffers)
        found = self.dormant(state, context)
        for layer, units in found:
            for part in (layer.incoming, layer.norm):
                _restore(parameters, fresh, part, units)
                _restore(buffers, fresh_buffers, part, units)
        for layer, units in found:
            # After all others: what comes from a unit that has just been redrawn is not to be heard, wherever it goes.
            name = f"{layer.outgoing}.weight"
            weight = parameters[name]
            inputs = units.repeat_interleave(weight.shape[2] // units.shape[1], dim=1)
            parameters[name] = weight.masked_fill(inputs.view(len(inputs), 1, -1, *[1] * (weight.ndim - 3)), 0)
        return replace(state, parameters=parameters, buffers=buffers)


def _row_means(active: Tensor) -> Tensor:
    """Mean over units, one run at a time, shape ``(runs, 1)``."""
    return torch.stack([row.mean() for row in active])[:, None]


def _restore(values: dict[str, Tensor], fresh: Mapping[str, Tensor], layer: str | None, units: Tensor) -> None:
    """Give some units of a layer the values of a fresh network. Counts of batches belong to no unit."""
    for name, value in values.items():
        if layer is not None and name.rpartition(".")[0] == layer and value.ndim > 1:
            chosen = units.view(*units.shape, *[1] * (value.ndim - 2))
            values[name] = torch.where(chosen, fresh[name], value)
