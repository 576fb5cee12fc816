"""
Choosing a network
==================

Accuracy against encrypted latency: networks of many kinds, and the front of the best.

1,797 images of 8 x 8 pixels, which scikit-learn ships. ``design_network`` trains networks with
and without lookups and client layers, judges them on held-out rows under simulated errors, and
models what an encrypted row costs. Needs ``pip install 'cipherfit[design]'``.
"""

import sys

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cipherfit import LatencyFrontDisplay, NeuralNetClassifier, design_network

quick = "--quick" in sys.argv  # fewer networks, less training, fewer rows

# %%
# Networks of up to 16 encrypted neurons a layer. More trials find better ones: 40 is the default.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
search = design_network(
    X_train,
    y_train,
    estimator=NeuralNetClassifier(max_epochs=5 if quick else 20),
    max_neurons=4 if quick else 16,
    n_trials=3 if quick else 12,
    n_folds=1,
)
search

# %%
# The front: for each latency the most accurate network; and what each kind keeps secret.

LatencyFrontDisplay.from_search(search)
plt.show()

# %%
# The chosen network on rows that the search has not seen, under encryption and in clear.

model = search.model
score = model.score(X_test, y_test)
print(f"accuracy of the chosen network on {len(X_test)} test rows: {score:.3f}")
model.compile(p_error=search.p_error)
rows = X_test[: 2 if quick else 10]
print(f"predicting {len(rows)} rows under encryption ...")
encrypted, clear = model.predict(rows, fhe="execute"), model.predict(rows)
print("encrypted:", *encrypted)
print("in clear: ", *clear)
print("written:  ", *y_test[: len(rows)])
