"""
A convolutional network
=======================

Two convolutions of a torch module of one's own, trained quantization-aware, read encrypted digits.

The module is trained in float as skorch trains any, then on with quantized layers: weights and
activations of 4 bits, whose accumulators are proven. Average pooling costs no lookups.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
import skorch
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from cipherfit import CertificateDisplay, QuantizedSkorchEstimatorMixin

quick = "--quick" in sys.argv  # less training, fewer rows


class OwnClassifier(QuantizedSkorchEstimatorMixin, skorch.NeuralNetClassifier):
    """Skorch's classifier, trained on with few bits."""


# %%
# The float network: two convolutions, for images of 8 x 8 pixels.

X, y = load_digits(return_X_y=True)
images = X.astype(np.float32).reshape(-1, 1, 8, 8)
X_train, X_test, y_train, y_test = train_test_split(images, y, stratify=y, random_state=0)
torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 4, 3, stride=2),
    nn.BatchNorm2d(4),
    nn.ReLU(),
    nn.Conv2d(4, 16, 2),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.AvgPool2d(2),
    nn.Flatten(),
    nn.Linear(16, 10),
)
classifier = OwnClassifier(
    network,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.01,
    batch_size=32,
    max_epochs=15 if quick else 30,
    iterator_train__shuffle=True,
    train_split=None,
    verbose=0,
    qat=True,
    n_w_bits=4,
    n_a_bits=4,
)
classifier.fit(X_train, y_train)
score = classifier.score(X_test, y_test)
print(f"accuracy of the integer network on {len(X_test)} digits: {score:.3f}")

# %%
# What became of it: a convolution is a layer of few weights that aren't 0.

classifier.graph_

# %%
# What the digits that it hasn't seen reach of the proven intervals.

CertificateDisplay.from_estimator(classifier, X_test)
plt.show()

# %%
# What an encrypted row costs.

print(classifier.estimate_fhe())

# %%
# Digits under encryption, beside the same in clear.

classifier.compile()
rows = X_test[: 1 if quick else 10]
print(f"reading {len(rows)} digits under encryption ...")
encrypted, clear = classifier.predict(rows, fhe="execute"), classifier.predict(rows)
print("encrypted:", *encrypted)
print("in clear: ", *clear)
print("digit:    ", *y_test[: len(rows)])
