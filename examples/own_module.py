"""
A module of your own
====================

A float torch module, trained by skorch and quantized afterwards.

Any chain of linear layers and elementwise functions will do. The mixin makes skorch's estimator one
whose ``fit`` ends in a proven integer graph; everything else is as for cipherfit's own estimators.
"""

import sys

import matplotlib.pyplot as plt
import skorch
import torch
from sklearn.datasets import load_wine
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from cipherfit import CertificateDisplay, QuantizedSkorchEstimatorMixin

quick = "--quick" in sys.argv  # less training, fewer rows


class OwnClassifier(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    """Skorch's classifier, quantized to 4 bits after its training."""

    n_bits_quant = 4


# %%
# The float network: 13 measurements, 6 hidden neurons, 3 cultivars.

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
torch.manual_seed(0)
network = nn.Sequential(nn.Linear(13, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 3))
classifier = OwnClassifier(
    network,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.02,
    max_epochs=20 if quick else 60,
    train_split=None,
    verbose=0,
)
model = make_pipeline(StandardScaler(), classifier).fit(X_train, y_train)
score = model.score(X_test, y_test)
print(f"accuracy of the integer network on {len(X_test)} wines: {score:.3f}")

# %%
# What became of it: batch normalization and SiLU are in the tables of 6 lookups.

model[-1].graph_

# %%
# How it does on wines that it hasn't seen, and what they reach of the proven intervals.

ConfusionMatrixDisplay.from_estimator(model, X_test, y_test)
CertificateDisplay.from_estimator(model, X_test)
plt.show()

# %%
# Wines under encryption, beside the same in clear.

model[-1].compile()
rows = X_test[: 2 if quick else 10]
print(f"classifying {len(rows)} wines under encryption ...")
encrypted, clear = model.predict(rows, fhe="execute"), model.predict(rows)
print("encrypted:", *encrypted)
print("in clear: ", *clear)
print("cultivar: ", *y_test[: len(rows)])
