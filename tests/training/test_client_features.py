"""What random neurons read: pairs evenly, patches of images, and clear refusals."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cipherfit.exceptions import InvalidParameterError
from cipherfit.training.client_features import Pairs, Patches, feature_kind


def test_pairs_are_drawn_as_evenly_as_it_goes():
    rng = np.random.default_rng(0)
    drawn = Pairs().draw(7, 4 * 21, rng)
    counts = Counter(tuple(inputs) for inputs in drawn)
    singles = [counts[(i,)] for i in range(7)]
    pairs = [counts[(i, j)] for j in range(7) for i in range(j)]
    assert singles == [3] * 7
    assert pairs == [3] * 21


@pytest.mark.parametrize("n_inputs", [1, 2, 3, 500])
def test_pairs_of_any_number_of_features_are_features(n_inputs):
    drawn = Pairs().draw(n_inputs, 100, np.random.default_rng(0))
    assert len(drawn) == 100
    assert all(0 <= inputs.min() <= inputs.max() < n_inputs for inputs in drawn)
    assert all(len(set(inputs)) == len(inputs) <= 2 for inputs in drawn)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (6, 9, 3), (1, 1, 1), (3, 40, 2)])
def test_patches_are_rectangles_with_all_channels(shape):
    height, width, n_channels = shape
    patches = Patches(*shape)
    for inputs in patches.draw(height * width * n_channels, 50, np.random.default_rng(0)):
        inside = np.zeros(shape, dtype=bool)
        inside.reshape(-1)[inputs] = True
        rows, columns, _ = inside.nonzero()
        rectangle = inside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert rectangle.all()
        assert rectangle.size == len(inputs)
        assert max(rectangle.shape[0] / height, rectangle.shape[1] / width) <= 1


@pytest.mark.parametrize(
    ("given", "n_inputs", "shape", "kind"),
    [
        ("auto", 10, None, Pairs),
        ("auto", 49, None, Pairs),
        ("auto", 64, None, Patches),
        ("auto", 65, None, Pairs),
        ("auto", 12, (3, 4), Patches),
        ("auto", 27, (3, 3, 3), Patches),
        ("auto", 12, np.array([3, 4]), Patches),
        ("pairs", 64, None, Pairs),
        ("patches", 9, None, Patches),
        ("patches", 12, [3, 4], Patches),
    ],
)
def test_images_are_told_from_tables_by_their_shape(given, n_inputs, shape, kind):
    assert type(feature_kind(given, n_inputs, shape)) is kind


@pytest.mark.parametrize(
    ("given", "shape", "phrase"),
    [
        ("dense", None, "client_features: 'dense' is none of auto, pairs, patches"),
        (None, None, "client_features: None is none of"),
        ("patches", None, r"needs image_shape=\(height, width\) here: 12 features"),
        ("pairs", (3, 4), r"image_shape=\(3, 4\) .* leave one of them out"),
        ("auto", (3, 5), "has 15 values, but there are 12 features"),
        ("auto", (12,), r"image_shape: \(12,\) must be \(height, width\)"),
        ("auto", 12, "image_shape: 12 must be"),
        ("auto", (3, 4.0), "image_shape=4.0 must be an integer"),
        ("auto", (0, 4), "image_shape=0 must be an integer, at least 1"),
    ],
)
def test_what_is_no_kind_or_shape_is_named(given, shape, phrase):
    with pytest.raises(InvalidParameterError, match=phrase):
        feature_kind(given, 12, shape)
