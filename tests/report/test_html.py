"""Reports hold what they should, as text, and are pages that people can use."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from report_samples import searched
from samples import fitted, load
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import cipherfit
from cipherfit import IntegerGraph, NeuralNetClassifier, write_report
from cipherfit.exceptions import (
    CompilationError,
    InvalidInputError,
    InvalidParameterError,
    MissingDependencyError,
    NotCompiledError,
    NotFittedError,
)
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets, RealTargets
from cipherfit.report.html import gather, page_of

X, Y = load("iris")
HOSTILE = ["<script>alert(1)</script>", "\"&'><img src=x onerror=alert(2)>", "\u202e{{ 7*7 }}"]
SECTIONS = ["what", "quality", "proof", "way", "parties", "errors", "security", "software"]


VOID = {"meta", "link", "br", "img", "input", "hr"}


class Elements(HTMLParser):
    """The elements of a page with their attributes, and texts by the element that they are in."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else None, data))

    def named(self, tag):
        return [attributes for found, attributes in self.found if found == tag]

    def text(self):
        told = "".join(text for tag, text in self.texts if tag not in ("style", "title"))
        return " ".join(told.split())


def page(model, *arguments, **options):
    return page_of(gather(model, *arguments, **options))


@pytest.fixture(scope="module")
def head():
    """A classifier whose encrypted part costs no time: its report has all but lookups."""
    return fitted("iris", n_client_layers=1)


class TestStructure:
    @pytest.mark.parametrize("name", ["iris", "diabetes"])
    @pytest.mark.parametrize("with_rows", [True, False])
    def test_a_page_is_whole_and_needs_nothing_else(self, name, with_rows):
        rows = load(name) if with_rows else ()
        text = page(fitted(name), *rows)
        elements = Elements(text)
        identifiers = [each["id"] for _, each in elements.found if each.get("id")]
        assert len(set(identifiers)) == len(identifiers)
        assert [i for i in identifiers if i in SECTIONS] == SECTIONS
        links = [each["href"] for each in elements.named("a")]
        assert {link[1:] for link in links} <= set(identifiers)
        assert elements.named("script") == elements.named("img") == []
        assert [each["href"] for each in elements.named("link")] == ["data:,"]
        assert re.findall(r"url\(|@import|https?:", text) == []
        (policy,) = [e for e in elements.named("meta") if "http-equiv" in e]
        assert policy["content"].startswith("default-src 'none'; style-src 'unsafe-inline'")
        levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))

    def test_every_picture_has_a_name_or_is_beside_its_numbers(self, head):
        for picture in Elements(page(head, X, Y, design=searched())).named("svg"):
            if "plot" in (picture.get("class") or ""):
                assert picture.get("aria-label") or picture.get("aria-hidden") == "true"

    def test_what_is_missing_is_said_with_how_to_get_it(self, tmp_path):
        model = fitted("iris")
        told = {one.what: one.how for one in gather(model).missing}
        assert len(told) == 3
        assert "call compile()" in " ".join(told.values())
        assert "X_test, y_test" in " ".join(told.values())
        text = Elements(page(model)).text()
        assert all(how in text for how in told.values())
        model.save(tmp_path / "model")
        loaded = gather(cipherfit.load(tmp_path / "model"), X, Y)
        assert any("not in a model's file" in one.how for one in loaded.missing)
        assert loaded.quality.others == ()
        assert [one.how for one in gather(model, X).missing if "labels" in one.how]
        all_of_it = gather(fitted("iris", n_layers=1), X, Y, X_train=X, y_train=Y, encrypted_rows=3)
        assert all_of_it.missing == ()


class TestNumbers:
    def test_they_are_those_of_the_model(self, head):
        text = Elements(page(head, X, Y)).text()
        accuracy = head.score(X, Y)
        assert f"{100 * accuracy:.1f} %" in text
        assert head.graph_.digest in text
        assert head.graph_.split()[1].digest in text
        estimate = head.estimate_fhe()
        assert f"{estimate.input_bytes / 1e3:.3g} kB" in text
        assert "128 bits against classical computers" in text

    def test_peers_answer_as_they_do_by_themselves(self):
        rows, labels = load("wine")
        model = fitted("wine")
        twin, linear = gather(
            model, rows[::2], labels[::2], X_train=rows[1::2], y_train=labels[1::2]
        ).quality.others
        with_numpy = model.float_twin().predict(rows[::2].copy()) == labels[::2]
        assert twin.score.value == with_numpy.mean()
        scaled = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        expected = scaled.fit(rows[1::2], labels[1::2]).score(rows[::2], labels[::2])
        assert linear.score.value == pytest.approx(expected)

    def test_peers_of_a_regressor(self):
        rows, values = load("diabetes")
        model = fitted("diabetes")
        twin, linear = gather(model, rows, values, X_train=rows, y_train=values).quality.others
        floats = model.float_twin().predict(rows.copy())[:, 0]
        r2 = 1 - np.square(floats - values).mean() / values.var()
        assert twin.score.value == pytest.approx(r2, abs=1e-6)
        ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 3, 13)))
        assert linear.score.value == pytest.approx(ridge.fit(rows, values).score(rows, values))

    def test_features_are_told_with_their_codes_and_what_rows_hold(self):
        model = fitted("iris")
        rows = X.copy()
        rows[:15, 2] = 1000
        feature = gather(model, rows, Y).identity.features[2]
        codes = np.arange(2**model.graph_.n_bits)[:, None].repeat(4, axis=1)
        reals = model.predictor_.input_quantizer.dequant(codes)[:, 2]
        assert (feature.low, feature.high) == pytest.approx((reals[0], reals[-1]))
        assert feature.step == pytest.approx(reals[1] - reals[0])
        assert (feature.seen_high, feature.clipped) == (1000, pytest.approx(0.1, abs=0.02))

    @pytest.mark.fhe
    def test_rows_are_run_encrypted_and_measured(self, monkeypatch):
        monkeypatch.setattr("cipherfit.fhe.estimate.machine_factor", lambda: 1.0)
        narrow = {"n_w_bits": 2, "n_a_bits": 2, "n_accum_bits": 4}
        model = copy.deepcopy(fitted("iris", n_hidden=4, **narrow))
        model.compile(p_error=1e-7)
        data = gather(model, X, Y, encrypted_rows=3)
        assert (data.encrypted.n_rows, data.encrypted.same.value) == (3, 1.0)
        assert data.security.scheme.startswith("TFHE")
        assert data.costs.n_lookups == data.errors.n_lookups == 4
        names = [one.name for one in data.encrypted_scores]
        assert names[:3] == ["in clear", "encrypted, predicted", "encrypted, measured"]
        text = Elements(page_of(data)).text()
        assert "3 rows were run encrypted for this report" in text
        assert "concrete-python" in text
        assert "patent licence" in text


class TestModels:
    def test_pipelines_and_searches_take_raw_features(self):
        inner = fitted("iris")
        pipeline = make_pipeline(MinMaxScaler().fit(X), NeuralNetClassifier(max_epochs=3))
        grid = GridSearchCV(pipeline, {"neuralnetclassifier__random_state": [0]}, cv=2)
        grid.fit(X, Y)
        data = gather(grid, X, Y, X_train=X, y_train=Y)
        assert data.journey.steps == ("MinMaxScaler",)
        assert data.quality.score.score.value == grid.score(X, Y)
        assert len(data.quality.others) == 2
        assert gather(inner, X, Y).journey.steps == ()

    def test_a_saved_pipeline_says_the_same_as_itself(self, tmp_path):
        frame = pd.DataFrame(X.astype(float), columns=["a", "b", "c", "d"])
        pipeline = make_pipeline(
            StandardScaler(), NeuralNetClassifier(module__n_layers=1, random_state=0)
        ).fit(frame, Y)
        cipherfit.save(pipeline, tmp_path / "model")
        loaded = gather(cipherfit.load(tmp_path / "model"), frame, Y)
        itself = gather(pipeline, frame, Y)
        assert loaded.quality.score == itself.quality.score
        assert loaded.proof == itself.proof
        assert loaded.journey.steps == ("standardize",)

    def test_a_saved_model_is_reported_on_without_what_trained_it(self, tmp_path, head):
        head.save(tmp_path / "model")
        np.save(tmp_path / "X.npy", X)
        np.save(tmp_path / "y.npy", Y)
        program = (
            "import sys, numpy as np, cipherfit; model = cipherfit.load('model');"
            "model.report('report.html', np.load('X.npy'), np.load('y.npy'), encrypted_rows=1);"
            "print({'torch', 'sklearn', 'skorch', 'concrete', 'matplotlib'} & {*sys.modules})"
        )
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
        )
        assert (ran.stdout, ran.stderr) == ("set()\n", "")
        assert head.graph_.digest in (tmp_path / "report.html").read_text(encoding="utf-8")

    def test_estimators_and_predictors_write_it(self, tmp_path, head):
        for number, write in enumerate((head.report, head.predictor_.report)):
            path = tmp_path / f"{number}.html"
            write(path, X, Y, title="Irises & others")
            assert "<h1>Irises &amp; others</h1>" in path.read_text(encoding="utf-8")
        write_report(head, tmp_path / "again.html", X, Y)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["0.html", "1.html", "again.html"]

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"encrypted_rows": 2}, InvalidParameterError, "encrypted_rows=2 of X"),
            ({"encrypted_rows": -1}, InvalidParameterError, "encrypted_rows"),
            ({"y": Y}, InvalidParameterError, "y is given without X"),
            ({"X_train": X}, InvalidParameterError, "give both, or neither"),
            ({"X": X, "y": Y[:5]}, InvalidInputError, "150"),
            ({"X": X[:, :3]}, InvalidInputError, "3 features"),
            ({"X": X, "y": Y + 7}, InvalidInputError, "not among the classes"),
            ({"X": X, "encrypted_rows": 2}, NotCompiledError, "call compile"),
        ],
    )
    def test_what_makes_no_sense_is_refused_and_nothing_written(
        self, tmp_path, options, error, message
    ):
        with pytest.raises(error, match=message):
            write_report(fitted("iris"), tmp_path / "report.html", **options)
        assert [*tmp_path.iterdir()] == []

    def test_what_is_no_fitted_model_is_told_what_to_give(self, tmp_path):
        with pytest.raises(NotFittedError, match="before report"):
            NeuralNetClassifier().report(tmp_path / "report.html")
        with pytest.raises(NotFittedError, match="give a fitted estimator"):
            gather(StandardScaler())

    @pytest.mark.parametrize(
        "error", [MissingDependencyError("no Concrete"), CompilationError("x")]
    )
    def test_without_what_encrypts_the_rest_is_told(self, monkeypatch, error):
        def missing(_):
            raise error

        monkeypatch.setattr("cipherfit.report.html.circuit_of", missing)
        data = gather(fitted("iris"), X, Y)
        assert (data.costs, data.security) == (None, None)
        assert any(f"not known here: {error}" in one.how for one in data.missing)


class TestText:
    def test_hostile_names_are_text(self):
        names = pd.Index([*HOSTILE, "d\ud800"], dtype=object)  # Arrow takes no such text
        frame = pd.DataFrame(X, columns=names)
        labels = np.array(HOSTILE)[Y]
        model = NeuralNetClassifier(module__n_layers=1, max_epochs=2, random_state=0)
        model.fit(frame, labels)
        text = page(model, frame, labels, title="<b>'\"&</b>", design=searched("<i>"))
        assert text.encode()
        elements = Elements(text)
        assert not elements.named("script") + elements.named("img") + elements.named("b")
        assert not [name for _, each in elements.found for name in each if name.startswith("on")]
        shown = [told for tag, told in elements.texts if tag == "bdi"]
        for name in HOSTILE:
            assert shown.count(name) >= 3
        assert "d\ufffd" in shown
        assert ("h1", "<b>'\"&</b>") in elements.texts
        assert "49" not in shown

    def test_a_large_model_makes_no_large_page(self):
        rng = np.random.default_rng(0)
        n_features, n_hidden, n_classes = 1000, 500, 150
        weights = rng.integers(-1, 2, (n_hidden, n_features))
        low = np.minimum(weights, 0).sum(axis=1)
        span = np.abs(weights).sum(axis=1)
        shift = 8
        graph = IntegerGraph.from_layers(
            {"scale": np.ones(n_features), "zero_point": np.zeros(n_features, int), "n_bits": 1},
            [
                {"kind": "linear", "weights": weights, "offset": np.zeros(n_hidden, int)},
                {
                    "kind": "lookup",
                    "low": low,
                    "lsbs": shift,
                    "exact": False,
                    "tables": [np.arange(((s + 128) >> shift) + 1) for s in span],
                },
                {
                    "kind": "linear",
                    "weights": rng.integers(-1, 2, (n_classes, n_hidden)),
                    "offset": np.zeros(n_classes, int),
                },
            ],
            {"scale": np.ones(n_classes), "offset": np.zeros(n_classes)},
        )
        names = [f"{i}" * 100 for i in range(n_classes)]
        rows = rng.integers(0, 2, (40, n_features))
        predictor = Predictor(graph, ClassTargets(np.array(names)))
        text = page(predictor, rows, np.array(names)[rng.integers(0, n_classes, 40)])
        assert len(text) < 300_000
        for left_out in ("50 more classes are left out", "900 more features are left out",
                         "372 are left out", "Each bar stands for 6 neurons"):  # fmt: skip
            assert left_out in Elements(text).text()
        values = Predictor(graph, RealTargets(n_classes, flat=False))
        many = page(values, rows, rng.normal(size=(40, n_classes)))
        assert "144 more targets are left out" in Elements(many).text()
        assert len(many) < 300_000


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A classifier's page with everything, and a regressor's with little."""
    folder = tmp_path_factory.mktemp("reports")
    frame = pd.DataFrame(X, columns=[*HOSTILE, "petal width"])
    model = NeuralNetClassifier(module__n_client_layers=1, max_epochs=3, random_state=0)
    model.fit(frame, np.array(HOSTILE)[Y])
    model.report(
        folder / "whole.html", frame, np.array(HOSTILE)[Y], design=searched(), encrypted_rows=2,
        X_train=frame, y_train=np.array(HOSTILE)[Y],
    )  # fmt: skip
    fitted("diabetes").report(folder / "values.html", *load("diabetes"))
    fitted("digits").report(folder / "bare.html")
    return folder


class TestInABrowser:
    @pytest.mark.parametrize(
        ("name", "dark"), [("whole", False), ("whole", True), ("values", True), ("bare", False)]
    )
    def test_it_says_no_errors_asks_for_nothing_and_keeps_nobody_out(
        self, page, reports, name, dark
    ):
        shown = page(reports / f"{name}.html", dark=dark)
        for summary in shown.page.locator("summary").all():
            summary.click()
        assert shown.errors == []
        assert {url.partition(":")[0] for url in shown.requests} <= {"file", "data"}
        assert shown.barriers("minor", "moderate", "serious", "critical") == []

    @pytest.mark.parametrize("name", ["whole", "values", "bare"])
    def test_it_fits_a_phone_and_a_screen(self, page, reports, name, tmp_path):
        shown = page(reports / f"{name}.html", width=390)
        for summary in shown.page.locator("summary").all():
            summary.click()
        for width in (390, 1440):
            assert not shown.is_wider_than(width)
            assert shown.screenshot(tmp_path / f"{width}.png", width).stat().st_size > 50_000

    def test_networks_of_a_search_are_read_by_keyboard_and_pointer(self, page, reports):
        shown = page(reports / "whole.html").page
        points = shown.locator("#front .point[tabindex]")
        assert points.count() == 3
        letter = points.nth(0).locator(".said").first
        assert not letter.is_visible()
        points.nth(0).focus()
        assert letter.is_visible()
        assert "A: accuracy 90.0 %, 100 ms per row" in letter.inner_html()
        shown.keyboard.press("Tab")
        assert not letter.is_visible()
        assert points.nth(1).locator(".said").first.is_visible()
        points.nth(2).locator("circle").last.hover()
        assert points.nth(2).locator(".said").first.is_visible()
        assert not points.nth(1).locator(".said").first.is_visible()

    def test_everything_that_opens_or_scrolls_is_reached_by_keyboard(self, page, reports):
        shown = page(reports / "whole.html", width=390).page
        wanted = shown.evaluate(
            "document.querySelectorAll('a, summary, [tabindex=\"0\"]').length"
            " - document.querySelectorAll('details:not([open]) .scroll').length"
        )
        reached = 0
        for _ in range(wanted + 5):
            shown.keyboard.press("Tab")
            if shown.evaluate("document.activeElement === document.body"):
                break
            reached += 1
        assert reached == wanted
        shown.locator("summary").first.focus()
        before = shown.locator("details[open]").count()
        shown.keyboard.press("Enter")
        assert shown.locator("details[open]").count() != before

    def test_it_prints_with_its_colours_and_all_of_the_digest(self, page, reports):
        shown = page(reports / "whole.html").page
        shown.emulate_media(media="print")
        shown.set_viewport_size({"width": 680, "height": 960})
        assert not shown.locator("nav").is_visible()
        assert shown.locator("details[open]").first.is_visible()
        assert not shown.locator("details:not([open])").first.is_visible()
        assert shown.locator("pre").first.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
        assert len(shown.pdf(format="A4")) > 20_000
