"""Rows with names of columns and classes, as commands find them in files."""

from __future__ import annotations

import numpy as np
import pandas as pd
from samples import load

X, Y = load("iris")
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
LABELS = np.array(["setosa", "versicolor", "virginica"])[Y]
ROWS = pd.DataFrame(X[::30], columns=NAMES)
