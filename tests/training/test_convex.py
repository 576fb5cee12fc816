"""Linear models on codes: scikit-learn's, at the penalty that was chosen."""

from __future__ import annotations

import numpy as np
import pytest
from samples import load
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cipherfit.training import convex
from cipherfit.training.convex import LinearModel, covariance_of, multinomial, ridge


def standardized(codes, rows):
    mean = rows @ codes / rows.sum()
    return (codes - mean) / np.sqrt(rows @ (codes - mean) ** 2 / rows.sum())


def rows_of(name):
    """Return features as codes of 8 bits, and targets."""
    X, y = load(name)
    X = X.astype(np.float64)
    low, high = X.min(axis=0), X.max(axis=0)
    return np.rint((X - low) / np.maximum(high - low, 1e-9) * 255), y


def weights_like(y, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 3, len(y))


@pytest.mark.parametrize("n_rows", [442, 8])
def test_a_ridge_is_scikit_learns_at_the_chosen_penalty_of_each_target(n_rows):
    codes, y = rows_of("diabetes")
    codes, y = codes[:n_rows], y[:n_rows]
    targets = np.column_stack([y, np.cos(y), codes[:, 2]])
    rows = weights_like(y)
    model = ridge(codes, targets, rows)
    rows *= n_rows / rows.sum()
    standard = standardized(codes, rows)
    for j, penalty in enumerate(model.penalty):
        peer = Ridge(alpha=penalty * n_rows).fit(standard, targets[:, j], sample_weight=rows)
        np.testing.assert_allclose(
            model(codes)[:, j], peer.predict(standard), atol=1e-5 * np.ptp(targets[:, j])
        )
    if n_rows > 8:
        assert len(set(model.penalty)) > 1


def test_a_ridges_penalty_is_validated_as_well_as_by_leaving_one_out():
    codes, y = rows_of("diabetes")
    standard = standardized(codes, np.ones(len(y)))
    chosen = ridge(codes, y[:, None]).penalty[0] * len(y)
    leaving_one_out = RidgeCV(np.logspace(-4, 6, 41)).fit(standard, y).alpha_
    scores = [
        cross_val_score(Ridge(alpha), standard, y, cv=10).mean()
        for alpha in (chosen, leaving_one_out)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.parametrize("name", ["iris", "breast_cancer", "digits"])
@pytest.mark.parametrize("penalty", [1.0, 1e-2])
def test_a_logistic_model_is_scikit_learns_at_its_penalty(name, penalty, monkeypatch):
    monkeypatch.setattr(convex, "_LOGISTIC", np.array([penalty]))
    codes, y = rows_of(name)
    rows = weights_like(y)
    rows *= len(y) / rows.sum()
    model = multinomial(codes, np.eye(y.max() + 1)[y] * rows[:, None], y, seed=0)
    assert model.penalty == penalty
    mean = rows @ codes / len(y)
    spread = np.sqrt(rows @ (codes - mean) ** 2 / len(y))
    spread[spread == 0] = 1
    standard = (codes - mean) / spread
    # Two outputs share what one logit has alone: each pays half of it, and its square a quarter.
    strength = 1 / (penalty * len(y)) * (2 if y.max() == 1 else 1)
    peer = LogisticRegression(C=strength, max_iter=10_000, tol=1e-8)
    peer.fit(standard, y, sample_weight=rows)
    outputs = model(codes)
    probabilities = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, peer.predict_proba(standard), atol=2e-3)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_a_logistic_models_penalty_holds_out_as_well_as_the_best_of_scikit_learns(name):
    codes, y = rows_of(name)
    penalty = multinomial(codes, np.eye(y.max() + 1)[y], y, seed=0).penalty

    def log_loss(value):
        strength = 1 / (value * len(y)) * (2 if y.max() == 1 else 1)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
        scores = cross_val_score(model, codes, y, cv=5, scoring="neg_log_loss")
        return -scores.mean(), scores.std() / np.sqrt(len(scores))

    (chosen, _), (best, error) = log_loss(penalty), min(map(log_loss, np.logspace(-4, 1, 6)))
    assert chosen <= best + 2 * error


def test_codes_that_never_vary_get_no_weight():
    codes, y = rows_of("iris")
    codes[:, 1] = 200.0
    assert not ridge(codes, y[:, None]).weights[:, 1].any()
    assert not multinomial(codes, np.eye(3)[y], y, seed=0).weights[:, 1].any()


def test_folds_hold_out_each_row_once_and_of_each_class_its_share():
    classes = np.repeat([0, 1, 2], [50, 20, 3])
    folds = list(convex._folds(classes, 0))
    assert np.array_equal(np.sum(folds, axis=0), np.ones(len(classes)))
    for held_out in folds:
        counts = np.bincount(classes[held_out], minlength=3)
        assert counts[0] == 10
        assert counts[1] == 4
        assert counts[2] <= 1


def test_the_seed_draws_the_folds_and_all_else_is_determined():
    codes, y = rows_of("wine")
    first, again = (multinomial(codes, np.eye(3)[y], y, seed=3) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)
    classes = np.repeat([0, 1], 20)
    of_seeds = [np.array(list(convex._folds(classes, seed))) for seed in (0, 1)]
    assert not np.array_equal(*of_seeds)


def test_the_strongest_penalty_within_a_standard_error_of_the_best_is_taken():
    noise = np.random.default_rng(0).normal(size=100)
    noise -= noise.mean()
    best = np.ones(100)
    losses = np.stack([best + 0.5 + noise, best + 0.05 + noise, best, np.full(100, np.inf)])
    assert convex._strongest_within_an_error(losses) == 1
    losses[1] = best + 0.05 + 0.01 * noise
    assert convex._strongest_within_an_error(losses) == 2


@pytest.mark.parametrize("counts", [(30, 1), (1, 1), (4, 0), (3, 2, 1)])
def test_few_rows_and_classes_without_any_are_solved_too(counts):
    classes = np.repeat(np.arange(len(counts)), counts)
    codes = np.random.default_rng(0).integers(0, 16, (len(classes), 5)).astype(float)
    model = multinomial(codes, np.eye(len(counts))[classes], classes, seed=0)
    assert np.isfinite(model(codes)).all()
    assert np.isfinite(ridge(codes, classes[:, None].astype(float))(codes)).all()


def test_many_codes_that_are_nearly_sums_of_others_converge_in_single_precision():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3000, 10))
    codes = np.rint(8 * (base @ rng.normal(size=(10, 60)) / 3 + 4)).astype(np.float32)
    y = (base[:, :3].argmax(axis=1)).astype(int)
    single = multinomial(codes, np.eye(3)[y], y, seed=0)
    double = multinomial(codes.astype(float), np.eye(3)[y], y, seed=0)
    np.testing.assert_allclose(single(codes), double(codes.astype(float)), atol=0.05)
    of_single = ridge(codes, base[:, :1])(codes)
    np.testing.assert_allclose(of_single, base[:, :1], atol=0.6)
    np.testing.assert_allclose(of_single, ridge(codes.astype(float), base[:, :1])(codes), atol=0.01)


def test_a_part_of_many_rows_tells_their_penalty(monkeypatch):
    codes, y = rows_of("digits")
    targets = np.eye(10)[y]
    whole = multinomial(codes, targets, y, seed=0)
    monkeypatch.setattr(convex, "_LARGE", 0)
    monkeypatch.setattr(convex, "_ROWS_OF_SEARCH", 900)
    part = multinomial(codes, targets, y, seed=0)
    assert whole.penalty / 20 < part.penalty < whole.penalty * 20
    assert part.penalty not in convex._LOGISTIC_COARSE
    same = (part(codes).argmax(axis=1) == whole(codes).argmax(axis=1)).mean()
    assert same > 0.97


def test_a_linear_model_gives_its_centre_at_the_mean():
    model = LinearModel(np.array([[2.0, -1.0]]), np.array([3.0, 4.0]), np.array([7.0]), 0.0)
    assert np.array_equal(model(np.array([[3.0, 4.0], [4.0, 4.0]])), [[7.0], [9.0]])


def test_the_covariance_is_weighted():
    codes, y = rows_of("iris")
    rows = weights_like(y)
    np.testing.assert_allclose(
        covariance_of(codes, rows), np.cov(codes.T, aweights=rows, bias=True), rtol=1e-9
    )
