"""How good a model is, is what scikit-learn says of the same answers."""

from __future__ import annotations

import numpy as np
import pytest
from samples import fitted, load
from sklearn import metrics
from sklearn.calibration import calibration_curve

from cipherfit.exceptions import InvalidInputError
from cipherfit.predictor.targets import ClassTargets, RealTargets
from cipherfit.report.quality import MOST_CLASSES, quality


def judged(name, rows, **model):
    X, y = (part[rows] for part in load(name))
    predictor = fitted(name, **model).predictor_
    probabilities = predictor.predict_proba(X) if predictor.is_classifier else None
    found = quality(predictor.targets, y, predictor.predict(X), probabilities, [])
    return found, y, predictor.predict(X), probabilities


class TestClasses:
    def test_matrix_recall_and_precision(self):
        found, y, answers, _ = judged("digits", slice(500))
        np.testing.assert_array_equal(found.of_classes.matrix, metrics.confusion_matrix(y, answers))
        recall = [one.recall.value for one in found.of_classes.classes]
        precision = [one.precision.value for one in found.of_classes.classes]
        expected = metrics.precision_recall_fscore_support(y, answers)
        assert (precision, recall) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
        assert found.score.score.value == metrics.accuracy_score(y, answers)

    def test_mistakes_are_listed_most_frequent_first(self):
        found, y, answers, _ = judged("digits", slice(None))
        listed = [one.n_rows for one in found.of_classes.confusions]
        assert listed == sorted(listed, reverse=True)
        first = found.of_classes.confusions[0]
        pairs = zip(y.astype(str), answers.astype(str), strict=True)
        assert first.n_rows == sum(pair == (first.truth, first.answer) for pair in pairs) > 0

    @pytest.mark.parametrize("name", ["breast_cancer", "digits"])
    def test_calibration(self, name):
        found, y, answers, probabilities = judged(name, slice(400))
        calibration = found.of_classes.calibration
        n_classes = probabilities.shape[1]
        distance = metrics.mean_squared_error(np.eye(n_classes)[y], probabilities)
        assert calibration.brier == pytest.approx(n_classes * distance)
        right, sure = calibration_curve(answers == y, probabilities.max(axis=1), n_bins=10)
        assert [one.accuracy.value for one in calibration.bins] == pytest.approx(right)
        assert [one.confidence for one in calibration.bins] == pytest.approx(sure)
        n_rows = np.array([one.n_rows for one in calibration.bins])
        assert n_rows.sum() == 400
        assert calibration.expected_error == pytest.approx(n_rows @ abs(right - sure) / 400)

    def test_outputs_that_are_no_probabilities_have_no_calibration(self):
        targets = ClassTargets(np.array([0, 1]))
        y = np.array([0, 1, 1])
        for values in (np.array([[3.0, -2], [0, 1], [0, 1]]), np.ones((3, 2)), None):
            assert quality(targets, y, y, values, []).of_classes.calibration is None

    def test_many_classes_are_counted_and_few_shown(self):
        n = MOST_CLASSES + 50
        targets = ClassTargets(np.arange(n))
        y = np.arange(n)
        answers = np.where(y == 7, 9, y)
        found = quality(targets, y, answers, None, []).of_classes
        assert (found.n_classes, len(found.classes), found.matrix) == (n, MOST_CLASSES, None)
        assert [(one.truth, one.answer, one.n_rows) for one in found.confusions] == [("7", "9", 1)]

    def test_classes_without_rows_have_no_recall(self):
        y = np.array([0, 0, 1])
        found = quality(ClassTargets(np.arange(3)), y, np.array([0, 0, 0]), None, []).of_classes
        none = found.classes[2]
        assert (none.n_rows, none.recall, none.precision) == (0, None, None)
        assert found.classes[1].precision is None
        assert found.classes[1].recall.value == 0

    def test_labels_that_are_no_classes_are_refused(self):
        answers = np.array([0, 1])
        with pytest.raises(InvalidInputError, match="not among the classes"):
            quality(ClassTargets(answers), np.array([0, 2]), answers, None, [])


class TestValues:
    def test_errors(self):
        found, y, answers, _ = judged("diabetes", slice(None))
        (target,) = found.of_targets
        assert found.score.score.value == pytest.approx(metrics.r2_score(y, answers))
        assert target.r2 == found.score.score
        squared = metrics.root_mean_squared_error(y, answers)
        assert target.root_mean_square.value == pytest.approx(squared)
        assert target.mean_absolute.value == pytest.approx(metrics.mean_absolute_error(y, answers))
        assert target.bias.value == pytest.approx((answers - y).mean())
        assert target.root_mean_square.low < squared < target.root_mean_square.high
        assert sum(target.counts) == len(y)
        assert set(target.points) <= set(zip(y.tolist(), answers.tolist(), strict=True))

    def test_several_targets_are_averaged_as_scikit_learn_does(self):
        random = np.random.default_rng(0)
        y = random.normal(size=(80, 9))
        answers = y + random.normal(size=y.shape)
        found = quality(RealTargets(9, flat=False), y, answers, None, [])
        assert found.score.score.value == pytest.approx(metrics.r2_score(y, answers))
        assert found.n_targets == 9
        assert [one.name for one in found.of_targets] == [f"target {i}" for i in range(6)]


def test_others_are_compared_row_by_row():
    targets, y = ClassTargets(np.array([0, 1])), np.array([0, 1] * 50)
    worse = np.where(np.arange(100) < 30, 1 - y, y)
    (other,) = quality(targets, y, y, None, [("it", worse, "")]).others
    assert other.score.value == 0.7
    assert other.difference.value == pytest.approx(-0.3)
    assert other.difference.high < 0
    real = quality(RealTargets(1, flat=True), y, y + 0.1, None, [("it", 1.0 * y, "")])
    assert real.others[0].difference.value == pytest.approx(1 - real.score.score.value)
