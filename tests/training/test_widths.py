"""Which bits and neurons a network gets where its user leaves them out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherfit import SparseQuantNeuralNetImpl
from cipherfit.exceptions import InvalidParameterError
from cipherfit.training.widths import (
    NamedLayer,
    NamedWidths,
    check_accumulator,
    default_in_bits,
    default_lookup_bits,
    hidden_widths_of,
    linear_widths,
    max_active_neurons,
    multiplied,
    per_layer,
)


@pytest.mark.parametrize(
    ("input_dim", "w", "a", "acc", "bits"),
    [
        (64, 3, 3, 8, 3),  # many inputs: the accumulator is needed for their weights
        (784, 4, 4, 10, 2),  # so many that coarser ones make room for weights
        (784, 3, 3, 8, 2),
        (784, 4, 1, 10, 1),
        (10, 3, 3, 8, 5),
        (10, 4, 4, 10, 6),
        (4, 3, 3, 8, 5),
        (1, 2, 2, 16, 8),
        (4, 12, 10, 30, 10),
    ],
)
def test_few_inputs_get_more_bits_and_very_many_fewer(input_dim, w, a, acc, bits):
    assert default_in_bits(input_dim, w, a, acc) == bits


@given(st.integers(1, 2000), st.integers(1, 8), st.integers(1, 8), st.integers(1, 30))
def test_inputs_get_more_bits_only_where_their_weights_keep_room(input_dim, w, a, acc):
    bits = default_in_bits(input_dim, w, a, acc)
    most = 2**acc - 1
    if bits > a:
        assert bits <= 8
        assert most / (2**bits - 1) >= max(0.8 * input_dim, 2 * max(1, 2 ** (w - 1) - 1))
    if bits < a:
        assert bits >= 2
        # One bit more, and most weights would round to zero.
        assert most / (2 ** (bits + 1) - 1) < 0.3 * input_dim


@pytest.mark.parametrize(
    ("acc", "a", "bits"), [(1, 1, 1), (6, 3, 6), (7, 3, 6), (16, 5, 6), (16, 8, 9), (40, 16, 16)]
)
def test_a_lookup_reads_all_bits_up_to_6_or_one_more_than_activations_have(acc, a, bits):
    assert default_lookup_bits(acc, a) == bits


def test_as_many_neurons_are_active_as_fit_at_their_largest():
    assert max_active_neurons(8, 3, 3) == 255 // 49
    assert max_active_neurons(6, 3, 3) == 1
    assert max_active_neurons(5, 3, 3) == 0


def test_an_accumulator_that_holds_no_product_is_refused_with_the_bits_that_it_needs():
    check_accumulator(6, 3, 3, "activation")
    with pytest.raises(InvalidParameterError, match=r"n_accum_bits=5 .*3-bit input; at least 6 bi"):
        check_accumulator(5, 3, 3, "input")


def test_a_multiplier_gives_whole_neurons_and_at_least_one():
    assert multiplied(4, 5) == 20
    assert multiplied(0.5, 5) == 2
    with pytest.raises(InvalidParameterError, match=r"0\.1 times 5 active neurons"):
        multiplied(0.1, 5)


def test_one_value_is_for_all_hidden_layers_and_a_sequence_for_each():
    assert per_layer("rounding", "exact", 3) == ["exact"] * 3
    assert per_layer("n_lookup_bits", (4, 5), 2) == [4, 5]
    defaults = [lambda: 11, lambda: 12]
    assert hidden_widths_of(7, defaults) == [7, 7]
    assert hidden_widths_of([4, 9], defaults) == [4, 9]
    assert hidden_widths_of([None, 9], defaults) == [11, 9]
    assert hidden_widths_of(None, defaults) == [11, 12]
    assert hidden_widths_of(7, []) == []
    with pytest.raises(InvalidParameterError, match=r"n_lookup_bits: \[4\] has 1 value,.*2 hidden"):
        per_layer("n_lookup_bits", [4], 2)
    with pytest.raises(InvalidParameterError, match="n_hidden_neurons=0"):
        hidden_widths_of([4, 0], defaults)


@pytest.mark.parametrize(
    ("named", "w", "n_in", "accum"),
    [
        ({}, 7, 8, 19),
        ({"n_w_bits": 3}, 3, 8, 15),
        ({"n_in_bits": 4}, 7, 4, 15),
        ({"n_in_bits": None}, 7, 8, 19),
        ({"n_accum_bits": 20}, 7, 8, 20),
        ({"n_accum_bits": 14}, 5, 5, 14),
        ({"n_w_bits": 16, "n_a_bits": 16}, 16, None, 36),
    ],
)
def test_a_network_without_hidden_layers_gets_wide_bits_where_none_are_named(named, w, n_in, accum):
    options = linear_widths({"input_dim": 30, "n_layers": 1, "n_outputs": 2, **named})
    chosen = (options["n_w_bits"], options.get("n_in_bits"), options["n_accum_bits"])
    assert chosen == (w, n_in, accum)
    (layer,) = SparseQuantNeuralNetImpl(**options).linear_layers
    if "n_accum_bits" not in named:
        # No sum is too wide, whatever the weights: nothing is pruned.
        assert 30 * layer.max_weight_code <= layer.most_weight


@pytest.mark.parametrize(
    "named", [{"n_accum_bits": 8}, {"n_accum_bits": "8"}, {"n_w_bits": 2.5}, {"n_a_bits": None}]
)
def test_narrow_accumulators_and_what_is_no_width_change_nothing(named):
    options = {"input_dim": 30, "n_layers": 1, "n_outputs": 2, **named}
    assert linear_widths(options) == options


def test_named_widths_are_those_of_each_layer():
    assert NamedWidths().of_layers(2, default=3) == [
        NamedLayer(3, 3, 3, None, None),
        NamedLayer(3, 3, None, None, None),
    ]
    named = NamedWidths((4, None, 2), (2, 3), 5, (None, 9, 8), (4, None))
    assert named.widest_activations == 3
    assert named.of_layers(3) == [
        NamedLayer(4, 5, 2, None, 4),
        NamedLayer(3, 2, 3, 9, None),
        NamedLayer(2, 3, None, 8, None),
    ]
    assert [layer.n_w_bits for layer in NamedWidths(n_a_bits=6).of_layers(1)] == [6]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"n_w_bits": [3, 3]}, r"n_w_bits: \[3, 3\] has 2 values, but there are 3 linear layers"),
        ({"n_accum_bits": [8]}, "n_accum_bits: .* there are 3 linear layers"),
        ({"n_a_bits": [3, 3, 3]}, "n_a_bits: .* has 3 values, but there are 2 hidden layers"),
        ({"n_lookup_bits": [4]}, "n_lookup_bits: .* there are 2 hidden layers"),
        ({"rounding": ["exact"]}, "rounding: .* there are 2 hidden layers"),
    ],
)
def test_sequences_of_another_length_than_the_layers_are_refused(named, message):
    with pytest.raises(InvalidParameterError, match=message):
        NamedWidths(**named).of_layers(3)
