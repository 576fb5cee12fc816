from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from core_graphs import graph_parts, random_features, random_parts
from hypothesis import given
from hypothesis import strategies as st

from cipherfit import IntegerGraph, twin
from cipherfit.exceptions import InputTypeError, InvalidInputError, InvalidParameterError

PARTS = random_parts(0)
GRAPH = IntegerGraph.from_layers(**PARTS)
X = random_features(PARTS, 50)


@given(graph_parts(), st.sampled_from([0, 1, 2, 65, 300]), st.sampled_from(["f4", "f8"]))
def test_every_step_equals_the_twin(parts, rows, dtype):
    graph = IntegerGraph.from_layers(**parts)
    features = random_features(parts, rows).astype(dtype)
    codes = graph.quantize(features)
    assert codes.dtype == np.uint16
    np.testing.assert_array_equal(codes, twin.quantize(parts, features))
    accumulators = graph.simulate(codes)
    assert accumulators.dtype == np.int64
    np.testing.assert_array_equal(accumulators, twin.simulate(parts, codes))
    values = graph.dequantize(accumulators)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, twin.dequantize(parts, accumulators))
    np.testing.assert_array_equal(graph.run(features), values)


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda array: np.repeat(array, 2, axis=0)[::2],
        lambda array: array[::-1][::-1],
        lambda array: array.astype(array.dtype.newbyteorder(">")),
        lambda array: np.frombuffer(b"x" + array.tobytes(), array.dtype, offset=1).reshape(
            array.shape
        ),
        lambda array: array.tolist(),
        lambda array: array.astype(array.dtype.str.replace("u2", "u8").replace("f8", "g")),
    ],
    ids=["fortran", "strided", "reversed", "byte order", "unaligned", "list", "wider"],
)
def test_any_layout_gives_the_same(change):
    codes = GRAPH.quantize(X)
    np.testing.assert_array_equal(GRAPH.quantize(change(X)), codes)
    np.testing.assert_array_equal(GRAPH.run(change(X)), GRAPH.run(X))
    np.testing.assert_array_equal(GRAPH.simulate(change(codes)), GRAPH.simulate(codes))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "u4", "i8", "u8"])
def test_codes_may_have_any_integer_type(dtype):
    codes = GRAPH.quantize(X)
    np.testing.assert_array_equal(GRAPH.simulate(codes.astype(dtype)), GRAPH.simulate(codes))


@pytest.mark.parametrize("dtype", ["f2", "i4", "u1", "?"])
def test_features_of_other_real_types_are_widened(dtype):
    features = (X > 1).astype(dtype)
    np.testing.assert_array_equal(GRAPH.quantize(features), GRAPH.quantize(features.astype("f8")))


def test_arguments_are_left_as_they_were_and_read_only_ones_are_fine():
    features, codes = X.copy(), GRAPH.quantize(X)
    before = codes.copy()
    features.setflags(write=False)
    codes.setflags(write=False)
    GRAPH.run(features)
    GRAPH.simulate(codes, p_error=0.5)
    np.testing.assert_array_equal(features, X)
    np.testing.assert_array_equal(codes, before)


def test_zero_rows_give_zero_rows():
    assert GRAPH.quantize(np.empty((0, 6))).shape == (0, 6)
    assert GRAPH.simulate(np.empty((0, 6), dtype=int)).shape == (0, 3)
    assert GRAPH.dequantize(np.empty((0, 3), dtype=int)).shape == (0, 3)
    assert GRAPH.run(np.empty((0, 6), dtype="f4")).shape == (0, 3)


@pytest.mark.parametrize("n_threads", [1, 2, 5, np.int64(3)])
def test_threads_do_not_change_results(n_threads):
    features = np.tile(X, (60, 1))
    codes = GRAPH.quantize(features)
    np.testing.assert_array_equal(GRAPH.run(features, n_threads=n_threads), GRAPH.run(features))
    exact = GRAPH.simulate(codes, n_threads=n_threads)
    np.testing.assert_array_equal(exact, GRAPH.simulate(codes))
    noisy = GRAPH.simulate(codes, p_error=0.3, seed=7, n_threads=n_threads)
    np.testing.assert_array_equal(noisy, GRAPH.simulate(codes, p_error=0.3, seed=7))


@pytest.mark.parametrize(
    "path", ["rows", "lanes", "portable", "avx2", "avx512", "avx512vbmi", None]
)
def test_every_path_gives_the_same(path):
    features = np.tile(X, (6, 1))
    codes = GRAPH.quantize(features)
    np.testing.assert_array_equal(GRAPH.run(features, path=path), GRAPH.run(features))
    np.testing.assert_array_equal(GRAPH.simulate(codes, path=path), twin.simulate(PARTS, codes))
    noisy = GRAPH.simulate(codes, p_error=0.3, seed=7, path=path)
    np.testing.assert_array_equal(noisy, GRAPH.simulate(codes, p_error=0.3, seed=7))


def test_an_unknown_path_is_refused():
    with pytest.raises(InvalidParameterError, match=r"path must be .*\"portable\".*, got \"sse9\""):
        GRAPH.run(X, path="sse9")


def test_a_seed_repeats_errors_and_without_one_they_are_fresh():
    codes = np.tile(GRAPH.quantize(X), (20, 1))
    assert (GRAPH.simulate(codes, p_error=0.0, seed=1) == GRAPH.simulate(codes)).all()
    assert (GRAPH.simulate(codes, p_error=0.5, seed=1) != GRAPH.simulate(codes)).any()
    repeated = [GRAPH.simulate(codes, p_error=0.5, seed=1) for _ in range(2)]
    np.testing.assert_array_equal(*repeated)
    assert (
        GRAPH.simulate(codes, p_error=0.5, seed=1)
        != GRAPH.simulate(codes, p_error=0.5, seed=2**64 - 1)
    ).any()
    assert (GRAPH.simulate(codes, p_error=0.5) != GRAPH.simulate(codes, p_error=0.5)).any()


@pytest.mark.parametrize("method", ["quantize", "run", "simulate"])
@pytest.mark.parametrize(
    ("shape", "text"), [((6,), r"\(6,\)"), ((2, 5), r"\(2, 5\)"), ((1, 2, 6), r"\(1, 2, 6\)")]
)
def test_other_shapes_are_refused(method, shape, text):
    with pytest.raises(InvalidInputError, match=rf"must have shape \(n, 6\), got {text}"):
        getattr(GRAPH, method)(np.zeros(shape, dtype=np.uint16))


def test_accumulators_of_another_shape_or_type_are_refused():
    with pytest.raises(InvalidInputError, match=r"accumulators must have shape \(n, 3\)"):
        GRAPH.dequantize(np.zeros((2, 6), dtype=int))
    with pytest.raises(InputTypeError, match="accumulators must hold integers, got dtype float64"):
        GRAPH.dequantize(np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("value", "text"), [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_values_that_are_not_finite_are_named(dtype, value, text):
    features = np.tile(X, (60, 1)).astype(dtype)
    features[2024, 4] = value
    for method in (GRAPH.quantize, GRAPH.run):
        with pytest.raises(InvalidInputError, match=f"value {text} at row 2024, column 4"):
            method(features)


@pytest.mark.parametrize("method", ["quantize", "run"])
@pytest.mark.parametrize(
    "features",
    [
        np.full((2, 6), "a"),
        [["a"] * 6],
        np.zeros((2, 6), dtype=complex),
        np.zeros((2, 6), dtype=object),
        np.zeros((2, 6), dtype="M8[s]"),
        [[None] * 6],
    ],
    ids=["text array", "text list", "complex", "object", "dates", "None"],
)
def test_features_that_are_not_real_numbers_are_refused(method, features):
    with pytest.raises(InputTypeError, match="X must hold real numbers, got dtype"):
        getattr(GRAPH, method)(features)


def test_ragged_rows_are_refused():
    with pytest.raises(InvalidInputError, match="X can't be read as an array"):
        GRAPH.run([[1.0] * 6, [1.0] * 5])


@pytest.mark.parametrize(
    ("dtype", "value"), [("u2", 8), ("i8", 8), ("i8", -1), ("u8", 2**63 - 1), ("u4", 65536)]
)
def test_codes_out_of_range_are_named(dtype, value):
    codes = np.zeros((9, 6), dtype=dtype)
    codes[7, 5] = value
    with pytest.raises(InvalidInputError, match=rf"code {value} at row 7, column 5 is outside"):
        GRAPH.simulate(codes)


def test_codes_beyond_signed_integers_are_refused():
    with pytest.raises(InvalidInputError, match="codes has the value 18446744073709551615"):
        GRAPH.simulate(np.full((1, 6), 2**64 - 1, dtype="u8"))


@pytest.mark.parametrize("codes", [X, X.astype("f4"), [["1"] * 6]])
def test_codes_that_are_not_integers_are_refused(codes):
    with pytest.raises(InputTypeError, match="codes must hold integers"):
        GRAPH.simulate(codes)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("p_error", -0.1),
        ("p_error", 1.1),
        ("p_error", np.nan),
        ("seed", -1),
        ("seed", 2**64),
        ("seed", 10**50),
        ("n_threads", 0),
        ("n_threads", -1),
        ("n_threads", 10**50),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(InvalidParameterError, match=option):
        GRAPH.simulate(GRAPH.quantize(X), **{option: value})


def test_other_python_threads_go_on_while_a_batch_is_computed():
    parts = random_parts(1, sizes=(200, 200, 10), weight=1)
    graph = IntegerGraph.from_layers(**parts)
    codes = np.ones((20_000, 200), dtype=np.uint16)
    ticks = []
    done = threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    graph.simulate(codes, n_threads=1, path="rows")  # the slowest
    end = time.perf_counter()
    done.set()
    thread.join()
    during = sum(start < at < end for at in ticks)
    # Held, the GIL would let the other thread in once at most, at either end.
    assert during >= 5, f"{during} ticks in {end - start:.3f} s"


def test_a_forked_child_simulates_on_threads_of_its_own():
    features = random_features(PARTS, 5000)
    expected = GRAPH.run(features, n_threads=2)
    child = os.fork()
    if child == 0:
        equal = False
        try:
            equal = np.array_equal(GRAPH.run(features, n_threads=2), expected)
        finally:
            os._exit(0 if equal else 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child waits for threads that it doesn't have")
