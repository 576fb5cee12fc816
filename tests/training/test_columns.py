"""Trying a function on probes tells what it does with rows and columns."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from cipherfit.training.columns import (
    OTHER_COLUMNS,
    OTHER_ROWS,
    RANDOM,
    affine_of,
    flaw_of_columns,
    flaw_of_rows,
)

WIDTHS = [1, 2, 3, 7, 8, 9, 64]


@pytest.mark.parametrize("width", WIDTHS)
def test_elementwise_functions_have_no_flaw(width):
    slopes = torch.linspace(-1, 1, width, dtype=torch.float64)
    for function in (torch.relu, torch.exp, lambda x: F.prelu(x, slopes), lambda x: x > 0,
                     lambda x: slopes * x + 1, lambda x: x.unsqueeze(1), torch.log):  # fmt: skip
        assert flaw_of_columns(function, width) is None


@pytest.mark.parametrize("width", WIDTHS[1:])
def test_one_column_that_reads_one_other_is_found(width):
    for reading in range(width):
        for read in {0, width // 2, width - 1} - {reading}:

            def function(x, reading=reading, read=read):
                x = x.clone()
                x[:, reading] += 0.01 * x[:, read]
                return x

            assert flaw_of_columns(function, width) == OTHER_COLUMNS
            assert flaw_of_rows(function, width) is None


@pytest.mark.parametrize(
    ("function", "flaw"),
    [
        (lambda x: x - x.mean(dim=0), OTHER_ROWS),
        (lambda x: x / len(x), OTHER_ROWS),
        (lambda x: x - x[0], OTHER_ROWS),
        (lambda x: x - x[-1], OTHER_ROWS),
        (lambda x: x / x.max(), OTHER_ROWS),
        (lambda x: x.cumsum(dim=0), OTHER_ROWS),
        (lambda x: F.softmax(x, dim=0), OTHER_ROWS),
        (nn.BatchNorm1d(4, track_running_stats=False).double().eval(), OTHER_ROWS),
        (F.dropout, RANDOM),
        (lambda x: x.T, r"changes what a row is: values of shape \(32, 4\) become \(4, 32\)"),
        (lambda x: x.sum(), r"changes what a row is: .* become \(\)"),
        (lambda x: x.reshape(-1, 2), r"changes what a row is: .* become \(64, 2\)"),
    ],
)
def test_what_does_not_work_row_by_row_is_told_apart(function, flaw):
    assert re.fullmatch(flaw, flaw_of_rows(function, 4))
    assert re.fullmatch(flaw, flaw_of_columns(function, 4))


@pytest.mark.parametrize("width", WIDTHS)
def test_scale_and_shift_of_columns_are_found(width):
    expected = torch.linspace(-2, 3, width, dtype=torch.float64)
    scale, shift = affine_of(lambda x: (x + 1) * expected - 0.5, width)
    assert torch.allclose(scale, expected)
    assert torch.allclose(shift, expected - 0.5)


@pytest.mark.parametrize(
    "function",
    [
        torch.relu,
        lambda x: x.clamp(-1e5, 1e5),
        lambda x: x.clamp(max=1e9),
        lambda x: x + 1e-6 * x * x,
        lambda x: x.flip(1),
        lambda x: x[:, :2],
        lambda x: x - x.mean(dim=0),
        torch.log1p,
    ],
)
def test_what_does_more_than_scale_and_shift_is_not_affine(function):
    assert affine_of(function, 3) is None


def normalized(*means):
    norm = nn.BatchNorm1d(len(means)).double().eval()
    norm.running_mean.copy_(torch.tensor(means))
    norm.running_var.copy_(torch.linspace(1e-4, 900, len(means)))
    return norm


@pytest.mark.parametrize("width", [1, 3, 64])
@pytest.mark.parametrize(
    "function",
    [
        nn.Hardshrink(0.2),
        nn.Softshrink(1e-3),
        nn.Hardshrink(300.0),
        nn.Threshold(-40.0, 2.0),
        lambda z: torch.where((z > 5) & (z < 5.5), 0.0, z),
    ],
)
def test_a_narrow_band_is_seen_wherever_it_lies(function, width):
    norm = normalized(*torch.linspace(3, 128, width).tolist())
    assert affine_of(norm, width) is not None
    assert affine_of(lambda x: function(norm(x)), width) is None
    assert affine_of(lambda x: norm(function(x)), width) is None
