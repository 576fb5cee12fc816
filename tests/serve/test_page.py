"""The page to try a model on, as a person meets it in a browser."""

from __future__ import annotations

import math
import re
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from page_demo import CLASSES, EVIL, NO_ANSWER, answer_of, running_demo
from service_process import predictor

import cipherfit
from cipherfit.report import strokes
from cipherfit.report.digits import train_digit_reader
from cipherfit.serve.page.drawing import drawing_of


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Run it with a network that reads digits, trained in less time than the command's own."""
    folder = tmp_path_factory.mktemp("digits")
    reader = train_digit_reader(max_epochs=10, n_hidden_neurons=128, n_drawn=60)
    reader.predictor.save(folder / "digits.cipherfit")
    with running_demo(folder / "demo", str(folder / "digits.cipherfit")) as started:
        yield started


def oval(x, y, width, height, n=30):
    turns = [2 * math.pi * index / n - math.pi / 2 for index in range(n + 1)]
    return [(x + width * math.cos(t), y + height * math.sin(t)) for t in turns]


#: Digits as a hand draws them; not those of the sources.
HAND = {
    "0": [oval(0.48, 0.5, 0.2, 0.33)],
    "1": [[(0.52, 0.18), (0.5, 0.5), (0.49, 0.84)]],
    "7": [[(0.27, 0.2), (0.5, 0.21), (0.73, 0.19), (0.58, 0.5), (0.43, 0.85)]],
    "4": [[(0.35, 0.15), (0.28, 0.5), (0.3, 0.56), (0.74, 0.52)], [(0.62, 0.35), (0.58, 0.88)]],
    "3": [[(0.33, 0.2), (0.5, 0.14), (0.64, 0.24), (0.6, 0.4), (0.46, 0.47), (0.62, 0.55),
           (0.67, 0.7), (0.55, 0.84), (0.34, 0.8)]],
}  # fmt: skip


def draw(shown, lines) -> None:
    """Draw with the mouse."""
    box = shown.page.locator("#pad").bounding_box()
    mouse = shown.page.mouse
    for line in lines:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in line]
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place, steps=4)
        mouse.up()


def wait_for_answer(shown, answer: str) -> None:
    """Wait for the answer to a drawing: after each of its lines one may be asked for."""
    shown.page.locator(f"#answer:text-is('{answer}')").wait_for()


def test_without_a_model_one_is_trained_and_read_with_digits_that_it_has_not_seen(tmp_path, page):
    with running_demo(tmp_path / "demo") as started:
        accuracy = float(re.search(r"([\d.]+)% of 450 digits held out", started.said)[1])
        assert accuracy > 97
        shown = page(started.url)
        assert "not trained on" in shown.page.inner_text("legend")
        shown.page.click("[aria-label='sample: 0']")
        assert answer_of(shown) == "0"
        shown.page.click("#clear")
        draw(shown, HAND["3"])
        wait_for_answer(shown, "3")
        assert shown.errors == []


def test_drawn_digits_are_read_with_a_mouse(digits, page):
    shown = page(digits.url)
    for digit, lines in HAND.items():
        shown.page.click("#clear")
        assert shown.page.inner_text("#answer") == NO_ANSWER
        draw(shown, lines)
        wait_for_answer(shown, digit)
    assert "answer" in shown.page.inner_text("#same")
    assert shown.page.locator("#log tbody tr").count() == len(HAND)
    assert (shown.errors, shown.refused) == ([], [])
    assert {urlsplit(url).netloc for url in shown.requests if url[:4] == "http"} == {digits.host}


def test_drawn_digits_are_read_with_a_finger_on_a_phone(digits, page):
    shown = page(digits.url, width=390, has_touch=True, is_mobile=True)
    shown.page.locator("#pad").scroll_into_view_if_needed()
    box = shown.page.locator("#pad").bounding_box()
    session = shown.page.context.new_cdp_session(shown.page)

    def touch(kind, *points):
        places = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    for line in HAND["7"]:
        touch("touchStart", line[0])
        for point in line[1:]:
            touch("touchMove", point)
        touch("touchEnd")
    wait_for_answer(shown, "7")
    assert shown.errors == []


def test_samples_and_buttons_do_without_a_pointer(digits, page):
    shown = page(digits.url)
    shown.page.focus("#clear")
    shown.page.keyboard.press("Tab")
    assert shown.page.evaluate("document.activeElement.ariaLabel") == "sample: 0"
    shown.page.keyboard.press("Enter")
    assert answer_of(shown) == "0"
    first = shown.page.inner_text("#up-hex")
    shown.page.focus("#ask")
    shown.page.keyboard.press("Enter")
    shown.page.wait_for_selector("#anew:not(:empty)")
    assert shown.page.inner_text("#up-hex") != first
    share = float(re.search(r"([\d.]+) %", shown.page.inner_text("#anew"))[1])
    assert share > 98
    assert shown.page.evaluate("document.activeElement.id") == "ask"
    shown.page.focus("#clear")
    shown.page.keyboard.press("Enter")
    assert shown.page.is_visible("#hint")
    assert shown.page.is_disabled("#ask")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("which", ["digits", "evil"])
def test_nobody_is_kept_out_and_a_phone_is_wide_enough(request, page, which, dark):
    shown = page(request.getfixturevalue(which).url, dark=dark)
    shown.page.click("#samples button" if which == "digits" else "#ask")
    answer_of(shown)
    assert shown.barriers("moderate", "serious", "critical") == []
    assert not shown.is_wider_than(320)
    assert shown.errors == []


def test_pixels_of_strokes_are_those_that_the_network_was_trained_on(digits, page):
    shown = page(digits.url)
    for ways in strokes.digits():
        for way in ways:
            found = shown.page.evaluate(
                "strokes => import('/drawing.js').then(({ pixels }) => pixels(strokes, 8))",
                [stroke.tolist() for stroke in way],
            )
            expected = strokes.picture(way) / 16
            assert np.abs(np.array(found) - expected).mean() < 0.015


def test_a_larger_picture_is_centred_by_its_mass(digits, page):
    shown = page(digits.url)
    corner = [[[0.05, 0.05], [0.2, 0.05], [0.1, 0.25]]]
    found = shown.page.evaluate(
        "strokes => import('/drawing.js').then(({ pixels }) => pixels(strokes, 28))", corner
    )
    picture = np.array(found).reshape(28, 28)
    places = np.arange(28) + 0.5
    middle = [picture.sum(axis=axis) @ places / picture.sum() for axis in (0, 1)]
    assert middle == pytest.approx([14, 14], abs=0.6)
    rows = np.flatnonzero((picture > 0.05).any(axis=1))
    assert 18 <= rows[-1] - rows[0] + 1 <= 21
    assert 0.9 < picture.max() <= 1.0001


def test_hostile_names_are_shown_as_text(evil, evil_model, page):
    shown = page(evil.url)
    labels = shown.page.locator(".field label")
    assert labels.all_inner_texts() == [EVIL, 'job" onfocus="alert(3)']
    shown.page.fill("#field-0", "80")
    shown.page.select_option("#field-1", label="<img src=x onerror=alert(4)>")
    shown.page.click("#ask")
    model = cipherfit.load(evil_model)
    row = pd.DataFrame([[80.0, "<img src=x onerror=alert(4)>"]], columns=labels.all_inner_texts())
    assert answer_of(shown) == model.predict(row)[0]
    assert shown.page.locator("#bars .label").all_inner_texts() == sorted(CLASSES)
    assert shown.page.locator("main img, #bars script, #answer *").count() == 0
    assert (shown.errors, shown.refused) == ([], [])


def test_a_form_begins_with_what_the_steps_know_and_says_what_is_wrong(evil, page):
    shown = page(evil.url)
    low, high = map(float, re.findall(r"[\d.]+", shown.page.inner_text("#range-0")))
    assert 15 < low < 25
    assert 80 < high < 95
    assert low < float(shown.page.input_value("#field-0")) < high
    shown.page.fill("#field-0", "many")
    shown.page.click("#ask")
    shown.page.wait_for_selector("#error-0:not(:empty)")
    assert "must be a finite number, or nothing" in shown.page.inner_text("#error-0")
    assert shown.page.get_attribute("#field-0", "aria-invalid") == "true"
    assert shown.page.evaluate("document.activeElement.id") == "field-0"
    shown.page.fill("#field-0", "")
    shown.page.click("#ask")
    assert answer_of(shown) in CLASSES
    shown.page.fill("#field-0", "1000")
    shown.page.click("#ask")
    shown.page.wait_for_selector("#notes li")
    assert "1000 is outside" in shown.page.inner_text("#notes")


def test_only_what_looks_like_a_picture_is_drawn():
    graph = cipherfit.IntegerGraph.from_layers(
        {"scale": np.full(64, 16 / 15), "zero_point": np.zeros(64, int), "n_bits": 4},
        [{"kind": "linear", "weights": np.ones((3, 64), int), "offset": np.zeros(3, int)}],
        {"scale": np.ones(3), "offset": np.zeros(3)},
    )
    from cipherfit.predictor.targets import ClassTargets, RealTargets

    classes = ClassTargets(np.arange(3))
    found = drawing_of(cipherfit.Predictor(graph, classes))
    assert (found.side, found.paper, found.ink) == (8, 0, 16)
    names = [f"pixel {index}" for index in range(64)]
    assert drawing_of(cipherfit.Predictor(graph, classes, feature_names=names)) is None
    assert drawing_of(cipherfit.Predictor(graph, RealTargets(3, flat=False))) is None
    assert drawing_of(predictor("small")) is None
