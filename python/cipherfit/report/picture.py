"""The demonstration's picture: accuracies, proven intervals, and digits read under encryption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from cipherfit.plotting import ACCENT, ENCRYPTED, PROVEN, SEEN, unframed
from cipherfit.report.displays.certificate import CertificateDisplay
from cipherfit.report.task_report import TaskReport


def save_picture(reports: list[TaskReport], path: Path) -> None:
    """Draw the reports and save the picture as PNG."""
    figure = plt.figure(figsize=(13, 4.0 * len(reports)), layout="constrained")
    rows = figure.subfigures(len(reports), 1)
    for row, report in zip(np.ravel(np.array(rows)), reports, strict=True):
        row.suptitle(
            f"{report.task.name}: {report.model.graph_.n_lookups} lookups, "
            f"{report.row_time} per encrypted row",
            fontweight="bold",
        )
        accuracy, intervals, samples = row.subplots(1, 3, width_ratios=[1, 1.5, 1.4])
        _draw_accuracy(accuracy, report)
        CertificateDisplay.from_estimator(report.model, report.X_test, ax=intervals)
        _draw_samples(samples, report)
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.1)
    plt.close(figure)


def _draw_accuracy(axes: Any, report: TaskReport) -> None:
    n_rows, n_encrypted = len(report.y_test), len(report.encrypted)
    bars = [
        (f"float32 twin\n{n_rows} rows", report.float_accuracy, PROVEN),
        (f"integers, in clear\n{n_rows} rows", report.accuracy, SEEN),
        (f"integers, in clear\nfirst {n_encrypted}", report.same_rows_accuracy, SEEN),
        (f"encrypted\nfirst {n_encrypted}", report.encrypted_accuracy, ENCRYPTED),
    ]
    names, values, colours = zip(*bars, strict=True)
    axes.bar_label(axes.barh(names, values, color=colours, height=0.65), fmt=" %.3f")
    axes.set(xlim=(0, 1.18), xticks=[0, 0.5, 1], title="test accuracy")
    axes.invert_yaxis()
    unframed(axes)


def _draw_samples(axes: Any, report: TaskReport) -> None:
    n_features = report.X_test.shape[1]
    side = round(n_features**0.5)
    if side * side == n_features and report.X_test.min() >= 0:
        _draw_images(axes, report, side)
        return
    margin = np.ptp(report.model.predict_proba(report.X_test[: len(report.encrypted)]), axis=1)
    right = report.encrypted == report.y_test[: len(report.encrypted)]
    order = np.argsort(margin)
    colours = np.where(right, ENCRYPTED, ACCENT)[order]
    axes.bar(np.arange(len(order)), margin[order], color=colours)
    axes.set(title="encrypted rows (red: wrong)", xlabel="row", ylabel="confidence in clear")
    unframed(axes)


def _draw_images(axes: Any, report: TaskReport, side: int) -> None:
    shown = min(20, len(report.encrypted))
    columns = 5
    axes.set(title="read under encryption (red: wrong)", xlim=(0, columns), ylim=(4.1, 0))
    for index in range(shown):
        x, y = index % columns, index // columns
        image = report.X_test[index].reshape(side, side)
        axes.imshow(image, cmap="gray_r", extent=(x + 0.02, x + 0.68, y + 0.82, y + 0.12))
        answer = report.encrypted[index]
        right = answer == report.y_test[index]
        axes.text(x + 0.72, y + 0.6, str(answer), color=ENCRYPTED if right else ACCENT, fontsize=13)
    axes.set_xlim(0, columns)
    axes.set_ylim(4.1, 0)
    axes.set_aspect("equal")
    axes.axis("off")
