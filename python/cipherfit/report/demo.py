"""The demonstration: real data sets, from training to encrypted predictions."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier as SkorchClassifier
from tqdm.auto import tqdm

from cipherfit.estimators.classifier import NeuralNetClassifier
from cipherfit.estimators.reproducibility import own_threads
from cipherfit.estimators.schedule import OneCycle
from cipherfit.report.task_report import Task, TaskReport
from cipherfit.training.float_twin import FloatTwin

P_ERROR = 0.01


TASKS = (
    Task("breast cancer", load_breast_cancer, 4),
    Task("digits", load_digits, 16),
    Task("digits, client layer", load_digits, 1024, in_clear=True),
)


def run_demo(output: Path, n_rows: int) -> list[TaskReport]:
    """Run the demonstration, print its table and save its picture.

    Parameters
    ----------
    output : Path
        Folder for the picture; made if missing.
    n_rows : int
        Rows to predict under encryption, per task.

    Returns
    -------
    list of TaskReport
        One per task.
    """
    reports = [run_task(task, n_rows) for task in TASKS]
    print()
    print(format_table(reports))
    print(
        "\nEncrypted rows: real keys, 128 bits of security. TFHE where there are lookups, which err"
        f"\nwith p_error {P_ERROR} each; else BFV. A client layer is random, and computed in clear."
        "\nProven: for every input that the quantizer can emit, not only those of a data set."
    )
    try:
        from cipherfit.report.picture import save_picture
    except ModuleNotFoundError as error:
        print(f"No picture: {error.name} is missing; pip install 'cipherfit[plot]'")
        return reports
    output.mkdir(parents=True, exist_ok=True)
    path = output / "demo.png"
    save_picture(reports, path)
    print(f"Picture: {path}")
    return reports


def run_task(task: Task, n_rows: int) -> TaskReport:
    """Train, compile and run one task."""
    X, y = task.load(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.25, stratify=y, random_state=0
    )
    print(f"{task.name}: training on {len(X_train)} rows of {X.shape[1]} features ...", flush=True)
    torch.manual_seed(0)
    model = NeuralNetClassifier(
        module__n_hidden_neurons=task.n_hidden_neurons, module__n_client_layers=int(task.in_clear)
    )
    fit_seconds, _ = _timed(lambda: model.fit(X_train, y_train))
    twin = float_twin(task, X_train, y_train).score(X_test.astype(np.float32), y_test)
    print(f"{task.name}: {model.graph_!r}")
    print(f"{task.name}: compiling, making keys ...", flush=True)
    compile_seconds, circuit = _timed(lambda: model.compile(p_error=P_ERROR))
    key_seconds, _ = _timed(circuit.keygen)
    rows = tqdm(X_test[:n_rows], desc="encrypted rows", unit="row")
    timed = [_timed(partial(model.predict, row[None], fhe="execute")) for row in rows]
    seconds, encrypted = zip(*timed, strict=True)
    return TaskReport(
        task=task,
        model=model,
        X_test=X_test,
        y_test=y_test,
        encrypted=np.concatenate(encrypted),
        float_accuracy=float(twin),
        fit_seconds=fit_seconds,
        compile_seconds=compile_seconds,
        key_seconds=key_seconds,
        row_seconds=float(np.median(seconds)),
    )


def float_twin(task: Task, X: NDArray[Any], y: NDArray[Any]) -> Any:
    """Train the same architecture in float32, on standardized features."""
    torch.manual_seed(0)
    net = SkorchClassifier(
        FloatTwin,
        module__input_dim=X.shape[1],
        module__hidden_widths=[task.n_hidden_neurons],
        module__n_outputs=len(np.unique(y)),
        **{**NeuralNetClassifier().get_params_for_benchmark(), "callbacks": [OneCycle()]},
    )
    with own_threads():
        torch.set_num_threads(1)  # in a network so small a second one waits for the first
        return make_pipeline(StandardScaler(), net).fit(X.astype(np.float32), y.astype(np.int64))


def format_table(reports: list[TaskReport]) -> str:
    """Return the reports side by side, one line per figure."""
    lines: list[tuple[str, Callable[[TaskReport], str]]] = [
        ("", lambda r: r.task.name),
        ("hidden neurons", _hidden_neurons),
        ("accuracy, float32 twin", lambda r: f"{r.float_accuracy:.3f}"),
        ("accuracy, integers in clear", lambda r: f"{r.accuracy:.3f}"),
        (
            "accuracy, encrypted rows",
            lambda r: f"{r.encrypted_accuracy:.3f} of {len(r.encrypted)}",
        ),
        ("accuracy, those rows in clear", lambda r: f"{r.same_rows_accuracy:.3f}"),
        ("encrypted = clear", lambda r: f"{r.agreement:.1%}"),
        ("proven accumulator bits", _proven_bits),
        ("lookups per row", lambda r: str(r.model.graph_.n_lookups)),
        ("training", lambda r: f"{r.fit_seconds:.2f} s"),
        ("compilation", lambda r: f"{r.compile_seconds:.2f} s"),
        ("key generation", lambda r: f"{r.key_seconds:.2f} s"),
        ("one encrypted row", lambda r: r.row_time),
    ]
    rows = [[name, *(text(report) for report in reports)] for name, text in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _hidden_neurons(report: TaskReport) -> str:
    return f"{report.task.n_hidden_neurons}{' in clear' if report.task.in_clear else ''}"


def _proven_bits(report: TaskReport) -> str:
    return " then ".join(str(layer.bits) for layer in report.model.graph_.prove().layers)


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result
