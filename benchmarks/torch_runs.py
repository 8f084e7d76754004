"""One run after another in PyTorch: the conventional way, and a tight loop."""

from __future__ import annotations

import torch
from cases import Case, Layer, Linear, initial
from contenders import SGEMM_SIZE
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode


def network(case: Case) -> nn.Sequential:
    """The network of a case as anyone would write it."""
    modules: list[nn.Module] = []
    for i, layer in enumerate(case.layers):
        if isinstance(layer, Linear):
            if i > 0 and not isinstance(case.layers[i - 1], Linear):
                modules.append(nn.Flatten())
            modules += _fully_connected(layer, last=i == len(case.layers) - 1)
        else:
            convolution = nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, padding=layer.kernel // 2)
            modules += [convolution, nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*modules)


def _fully_connected(layer: Layer, *, last: bool) -> list[nn.Module]:
    modules: list[nn.Module] = [nn.Linear(layer.inputs, layer.outputs)]
    if isinstance(layer, Linear) and layer.norm:
        modules.append(nn.BatchNorm1d(layer.outputs))
    return modules if last else [*modules, nn.ReLU()]


def initialised(case: Case, run: int) -> nn.Sequential:
    """The network with the initial parameters of a run."""
    model = network(case)
    products = [module for module in model if isinstance(module, nn.Linear | nn.Conv2d)]
    values = initial(case, run)
    with torch.no_grad():
        for i, module in enumerate(products):
            module.weight.copy_(torch.from_numpy(values[f"{i}.weight"]))
            assert module.bias is not None
            module.bias.copy_(torch.from_numpy(values[f"{i}.bias"]))
    return model


def tensors(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and classes, evaluated images and classes."""
    data = case.load()
    x_train, x_test = torch.from_numpy(data.x_train), torch.from_numpy(data.x_test)
    if case.is_convolutional:
        x_train, x_test = (x.permute(0, 3, 1, 2).contiguous() for x in (x_train, x_test))
    return x_train, torch.from_numpy(data.y_train), x_test, torch.from_numpy(data.y_test)


class SgemmTrainer:
    """One product of large float32 matrices, which is what the cores can do at most."""

    runs = 1

    def __init__(self, case: Case, threads: int) -> None:
        self.a, self.b = (torch.rand(SGEMM_SIZE, SGEMM_SIZE) for _ in range(2))
        self.out = torch.empty(SGEMM_SIZE, SGEMM_SIZE)

    def train(self, first_run: int, epochs: int) -> list[float]:
        """Multiply once."""
        torch.mm(self.a, self.b, out=self.out)
        return []


class LoaderTrainer:
    """The conventional way: data loaders, ``loss.item()``, evaluation in batches."""

    runs = 1

    def __init__(self, case: Case, threads: int) -> None:
        self.case = case
        x_train, y_train, x_test, y_test = tensors(case)
        self.train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=case.batch, shuffle=True)
        self.test_loader = DataLoader(TensorDataset(x_test, y_test), batch_size=256)

    def train(self, first_run: int, epochs: int) -> list[float]:
        """Accuracy of the run after its last epoch."""
        torch.manual_seed(first_run)
        model = initialised(self.case, first_run)
        optimiser = torch.optim.SGD(model.parameters(), lr=self.case.lr)
        history = [(self._train(model, optimiser), *self._evaluate(model)) for _ in range(epochs)]
        return [history[-1][2]]

    def _train(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> float:
        model.train()
        total, seen = 0.0, 0
        for images, labels in self.train_loader:
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimiser.step()
            total += loss.item() * len(labels)
            seen += len(labels)
        return total / seen

    @torch.no_grad()
    def _evaluate(self, model: nn.Module) -> tuple[float, float]:
        model.eval()
        total, right, seen = 0.0, 0, 0
        for images, labels in self.test_loader:
            logits = model(images)
            total += functional.cross_entropy(logits, labels, reduction="sum").item()
            right += int((logits.argmax(dim=1) == labels).sum().item())
            seen += len(labels)
        return total / seen, right / seen


class LoopTrainer:
    """A tight loop over tensors in memory; nothing is read back before the run ends."""

    runs = 1

    def __init__(self, case: Case, threads: int) -> None:
        self.case = case
        self.x_train, self.y_train, self.x_test, self.y_test = tensors(case)
        # Denormal numbers cost a hundred times more; XLA flushes them too.
        torch.set_flush_denormal(True)
        # A third faster for convolutions.
        self.memory_format = torch.channels_last if case.is_convolutional else torch.contiguous_format
        self.x_train, self.x_test = (x.to(memory_format=self.memory_format) for x in (self.x_train, self.x_test))

    def train(self, first_run: int, epochs: int) -> list[float]:
        """Accuracy of the run after its last epoch."""
        torch.manual_seed(first_run)
        model = initialised(self.case, first_run).to(memory_format=self.memory_format)
        history = [(self._train(model), *self._evaluate(model)) for _ in range(epochs)]
        return [history[-1][2].item()]

    def _train(self, model: nn.Sequential) -> Tensor:
        model.train()
        order = torch.randperm(len(self.y_train))
        batches = zip(*(part[order].split(self.case.batch) for part in (self.x_train, self.y_train)), strict=True)
        parameters, modules = list(model.parameters()), list(model)
        total = torch.zeros(())
        for x, y in batches:
            for module in modules:
                x = module(x)
            loss = functional.cross_entropy(x, y)
            # Gradients and their use without the bookkeeping of `backward` and an optimiser: up to a quarter faster.
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                torch._foreach_add_(parameters, gradients, alpha=-self.case.lr)
            total += loss.detach()
        return total * self.case.batch / len(order)

    @torch.no_grad()
    def _evaluate(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        model.eval()
        logits = model(self.x_test)
        loss = functional.cross_entropy(logits, self.y_test)
        return loss, (logits.argmax(dim=1) == self.y_test).float().mean()


def counted_flop_parts(case: Case) -> tuple[int, int]:
    """Operations for one image in training and in evaluation as PyTorch counts them; see `cases.flop_parts`."""
    x, y, _, _ = (part[: case.batch] for part in tensors(case))
    model = network(case)
    with FlopCounterMode(display=False) as training:
        functional.cross_entropy(model(x), y).backward()
    with FlopCounterMode(display=False) as evaluation, torch.no_grad():
        model(x)
    return training.get_total_flops() // case.batch, evaluation.get_total_flops() // case.batch
