"""
Regression
==========

How diabetes will progress, a number instead of a class.

442 patients with 10 measurements, which scikit-learn ships; the target is a score of the disease
one year later. Regression asks for finer steps than classes do, hence 4 bits, and accumulators of
10. Results of encrypted rows may differ a little from those in clear: ``p_error`` and approximate
rounding move hidden codes by a step now and then.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from cipherfit import EncryptedAccuracyDisplay, NeuralNetRegressor, search_p_error

quick = "--quick" in sys.argv  # less training, fewer rows

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = NeuralNetRegressor(
    module__n_hidden_neurons=4,
    module__n_w_bits=4,
    module__n_a_bits=4,
    module__n_accum_bits=10,
    max_epochs=20 if quick else 100,
    random_state=0,
)
model.fit(X_train, y_train)
score = model.score(X_test, y_test)
error = np.abs(model.predict(X_test) - y_test).mean()
print(f"R2 {score:.3f}, mean absolute error {error:.1f} on a scale of {y.min():.0f}-{y.max():.0f}")

# %%
# How often lookups may err, so that R2 falls by less than 0.05; and R2 where they err less or more.

search = search_p_error(model, X_test, y_test, max_accuracy_drop=0.05)
print(search)
EncryptedAccuracyDisplay.from_estimator(model, X_test, y_test)
plt.show()

# %%
# Patients under encryption, with that error probability, beside the same in clear.

model.compile(p_error=search.p_error)
rows = X_test[: 2 if quick else 10]
print(f"predicting {len(rows)} patients under encryption ...")
encrypted, clear = model.predict(rows, fhe="execute"), model.predict(rows)
print("encrypted:", *encrypted.round().astype(int))
print("in clear: ", *clear.round().astype(int))
print("measured: ", *y_test[: len(rows)].astype(int))

figure, axes = plt.subplots(layout="constrained")
axes.scatter(model.predict(X_test), y_test, s=12, color="0.75", label="in clear, all test rows")
axes.scatter(encrypted, y_test[: len(rows)], s=36, color="C2", label="encrypted")
axes.axline((150, 150), slope=1, color="0.5", linewidth=1)
axes.set(xlabel="predicted", ylabel="measured one year later")
axes.legend(frameon=False)
plt.show()
