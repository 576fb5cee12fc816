"""The hand-off of an integer graph to Concrete.

The circuit is built directly: integer weights as constants, one table per neuron, and the widths
that the graph's certificate proves as hints. Concrete would otherwise size its integers from
sample rows, and inputs beyond them would wrap silently.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import CipherfitWarning, CompilationError
from cipherfit.fhe.runtime import fhe, prepare_thread, remove_with
from cipherfit.limits import MAX_LOOKUP_BITS
from cipherfit.parameters import fraction
from cipherfit.stages import Stage, stages_of

Int64 = NDArray[np.int64]

#: Probability that one lookup gives a neighbour's value, where the caller names none.
DEFAULT_P_ERROR = 0.01
#: Bytes of keys from which on they are worth a warning.
LARGE_KEYS = 1_000_000_000
#: Random inputs that show Concrete which outputs can be negative.
_ROWS_FOR_SIGNS = 64


@dataclass(frozen=True)
class _TypedStage:
    """One linear layer as Concrete gets it, with the widths (in bits) that the proof asks for."""

    weights: Int64
    offset: Int64
    sum_bits: int
    accumulator_bits: int
    signed: bool
    lsbs: int
    exactness: fhe.Exactness
    tables: list[Int64]


def compile_graph(
    graph: IntegerGraph,
    *,
    configuration: fhe.Configuration | None = None,
    p_error: float | None = None,
    artifacts: fhe.DebugArtifacts | None = None,
    show_mlir: bool = False,
    simulation_only: bool = False,
    warn_of_size: bool = True,
) -> fhe.Circuit:
    """Compile an integer graph to a Concrete circuit whose integers hold every proven value.

    Parameters
    ----------
    graph : IntegerGraph
        The network. Its certificate gives all widths: no calibration data are needed.
    configuration : fhe.Configuration, optional
        Concrete's options; `p_error` and `simulation_only` are set on a copy of it.
    p_error : float in (0, 1), optional
        Probability that one lookup errs. Default: the configuration's where it names one, else
        0.01, which a network with quantized activations shrugs off.
    artifacts : fhe.DebugArtifacts, optional
        Where Concrete leaves its intermediate results.
    show_mlir : bool, default=False
        Print the MLIR that Concrete compiles.
    simulation_only : bool, default=False
        Compile for Concrete's simulation, without cryptography.
    warn_of_size : bool, default=True
        Warn (`CipherfitWarning`) where keys take more than 1 GB: making them takes long, too.

    Returns
    -------
    fhe.Circuit
        Takes codes of shape (n_features,), gives accumulators of shape (n_outputs,).

    Raises
    ------
    CompilationError
        If Concrete has no lookup or no crypto-parameters for the proven widths, or if the circuit
        that it made is narrower than the proof.
    """
    stages = _typed_stages(graph)
    _check_supported(stages)
    configuration = _configure(configuration, p_error, simulation_only)
    prepare_thread()
    compiler = fhe.Compiler(_network_function(stages), {"codes": "encrypted"})
    try:
        circuit = remove_with(
            compiler.compile(
                _extreme_inputs(graph),
                configuration=configuration,
                artifacts=artifacts,
                show_mlir=show_mlir,
            )
        )
    except RuntimeError as error:
        message = _why_not(stages, configuration, _extreme_inputs(graph), error)
        raise CompilationError(message) from error
    check_widths(circuit, graph)
    if warn_of_size and configuration.fhe_execution:
        _warn_of_large_keys(circuit, stages)
    return circuit


def check_widths(circuit: fhe.Circuit, graph: IntegerGraph) -> None:
    """Check that every integer of a compiled circuit is at least as wide as its proof asks.

    Raises
    ------
    CompilationError
        Naming the layer, the width that the circuit has and the one that is proven to be needed.
    """
    needed = {"input": (graph.n_bits, False)}
    for index, stage in enumerate(_typed_stages(graph)):
        needed[f"layer{index}"] = (stage.accumulator_bits, stage.signed)
    found: dict[str, tuple[int, bool]] = {}
    for node in circuit.graph.graph.nodes:
        if node.operation == fhe.Operation.Constant:
            continue
        tag = "input" if node.operation == fhe.Operation.Input else node.tag
        dtype = node.output.dtype
        if tag in needed and (tag == "input" or node.properties.get("name") == "add"):
            found[tag] = (dtype.bit_width, dtype.is_signed)
    for place, (bits, signed) in needed.items():
        has_bits, has_sign = found.get(place, (0, False))
        if signed and not has_sign:
            raise CompilationError(
                f"the compiled circuit has unsigned integers at {place}, where the proof allows "
                "negative ones; shift its accumulators to start at 0 by their offset"
            )
        if has_bits - (has_sign and not signed) < bits:
            raise CompilationError(
                f"the compiled circuit has {has_bits} bits at {place}, where the proof asks for "
                f"{bits}; encrypted results could wrap, so the circuit is refused"
            )


def _typed_stages(graph: IntegerGraph) -> list[_TypedStage]:
    return [_typed(stage) for stage in stages_of(graph)]


def _typed(stage: Stage) -> _TypedStage:
    low, high = np.asarray(stage.proof.low), np.asarray(stage.proof.high)
    offset, lookup = stage.offset, stage.lookup
    if lookup is not None:
        # A lookup's index starts at 0.
        offset, low, high = offset - low, np.zeros_like(low), high - low
    lsbs = 0 if lookup is None else lookup.lsbs
    tables = [] if lookup is None else lookup.tables
    # Rounding up may carry past the accumulator's own top.
    top = max([int(high.max()), *((len(table) - 1) << lsbs for table in tables)])
    exact = lookup is None or lookup.exact
    return _TypedStage(
        weights=stage.weights,
        offset=offset,
        sum_bits=_width(int((low - offset).min()), int((high - offset).max())),
        accumulator_bits=_width(int(low.min()), top),
        signed=bool(low.min() < 0),
        lsbs=lsbs,
        exactness=fhe.Exactness.EXACT if exact else fhe.Exactness.APPROXIMATE,
        tables=tables,
    )


def _width(low: int, high: int) -> int:
    """Return the bits of an integer type that holds an interval, at least 1."""
    if low < 0:
        return max((-low - 1).bit_length(), high.bit_length()) + 1
    return max(1, high.bit_length())


def _check_supported(stages: list[_TypedStage]) -> None:
    for index, stage in enumerate(stages):
        if stage.accumulator_bits > MAX_LOOKUP_BITS:
            raise CompilationError(
                f"layer {index} has accumulators of {stage.accumulator_bits} bits, and Concrete "
                f"handles at most {MAX_LOOKUP_BITS}: train with module__n_accum_bits at most "
                f"{MAX_LOOKUP_BITS} (8 or fewer are fast), which fits at 3-bit weights and "
                "activations"
            )


def _widest_lookup(stages: list[_TypedStage]) -> tuple[int, int]:
    """Return the layer that reads the most bits, and how many."""
    read = [stage.accumulator_bits - stage.lsbs if stage.tables else 0 for stage in stages]
    return int(np.argmax(read)), max(read)


def _why_not(
    stages: list[_TypedStage],
    configuration: fhe.Configuration,
    inputs: list[Int64],
    error: Exception,
) -> str:
    """Say which layer is to blame, and the widest lookups with which the circuit compiles."""
    layer, widest = _widest_lookup(stages)
    blame = (
        f"Concrete can't compile layer {layer}, whose lookups read {widest} bits of accumulators "
        f"of {stages[layer].accumulator_bits}, at p_error={configuration.p_error}: {error}. "
    )
    configuration = configuration.fork(dump_artifacts_on_unexpected_failures=False)
    for name, narrowed in (("lookup", _reading), ("accum", _within)):
        for bits in range(widest - 1, 0, -1):
            stand_in = _network_function([narrowed(stage, bits) for stage in stages])
            # Zeros show no width of their own: all widths are those of the hints.
            nothing = inputs if narrowed is _reading else [np.zeros_like(inputs[0])]
            try:
                fhe.Compiler(stand_in, {"codes": "encrypted"}).compile(
                    nothing, configuration=configuration
                )
            except RuntimeError:
                continue
            return f"{blame}The nearest that compiles is module__n_{name}_bits={bits}"
    return f"{blame}A larger p_error may help"


def _reading(stage: _TypedStage, bits: int) -> _TypedStage:
    """Return a stage of the same cost as one whose lookups read at most so many bits."""
    if not stage.tables or stage.accumulator_bits - stage.lsbs <= bits:
        return stage
    return replace(
        stage,
        lsbs=stage.accumulator_bits - bits,
        exactness=fhe.Exactness.APPROXIMATE,
        tables=[table[: 1 << bits] for table in stage.tables],
    )


def _within(stage: _TypedStage, bits: int) -> _TypedStage:
    """Return a stage of the same cost as one whose accumulators have at most so many bits."""
    if stage.accumulator_bits <= bits:
        return stage
    return replace(
        stage,
        offset=np.zeros_like(stage.offset),
        sum_bits=min(stage.sum_bits, bits),
        accumulator_bits=bits,
        lsbs=0,
        tables=[table[: 1 << bits] for table in stage.tables],
    )


def _warn_of_large_keys(circuit: fhe.Circuit, stages: list[_TypedStage]) -> None:
    size = circuit.size_of_bootstrap_keys + circuit.size_of_keyswitch_keys
    if size <= LARGE_KEYS:
        return
    layer, widest = _widest_lookup(stages)
    warnings.warn(
        f"the keys of this circuit take {size / 1e9:.1f} GB of memory, and encrypted rows long: "
        f"layer {layer} has lookups of {widest} bits at p_error={circuit.p_error:.2g}. "
        "Lookups of 6 bits (module__n_lookup_bits=6) or a larger p_error keep them small",
        CipherfitWarning,
        stacklevel=3,
    )


def _configure(
    configuration: fhe.Configuration | None, p_error: float | None, simulation_only: bool
) -> fhe.Configuration:
    if p_error is not None:
        p_error = fraction("p_error", p_error)
    options: dict[str, Any] = {}
    if simulation_only:
        options.update(fhe_simulation=True, fhe_execution=False)
    named = configuration is not None and (
        configuration.p_error is not None or configuration.global_p_error is not None
    )
    if p_error is not None or not named:
        options.update(p_error=DEFAULT_P_ERROR if p_error is None else p_error)
    base = configuration
    if base is None:
        base = fhe.Configuration(dump_artifacts_on_unexpected_failures=False)
    return base.fork(**options)


def _network_function(stages: list[_TypedStage]) -> Callable[[Any], Any]:
    lookups = [_lookup_table(stage) for stage in stages]

    def network(codes: Any) -> Any:
        for index, (stage, table) in enumerate(zip(stages, lookups, strict=True)):
            with fhe.tag(f"layer{index}"):
                sums = fhe.hint(codes @ stage.weights.T, bit_width=stage.sum_bits)
                codes = fhe.hint(sums + stage.offset, bit_width=stage.accumulator_bits)
                if table is None:
                    continue
                if stage.lsbs:
                    codes = fhe.round_bit_pattern(
                        codes,
                        lsbs_to_remove=stage.lsbs,
                        overflow_protection=False,  # the hinted width holds the rounded top
                        exactness=stage.exactness,
                    )
                    codes = fhe.hint(codes, bit_width=stage.accumulator_bits)
                codes = table[codes]
        return codes

    return network


def _lookup_table(stage: _TypedStage) -> fhe.LookupTable | None:
    """Write a layer's tables as Concrete reads them: one entry per accumulator value."""
    if not stage.tables:
        return None
    n_entries = 1 << (stage.accumulator_bits - stage.lsbs)
    rows = []
    for table in stage.tables:
        # Beyond its proven top a table repeats its last entry, so that an error upwards there
        # stays harmless.
        padded = np.pad(table, (0, n_entries - len(table)), mode="edge")
        rows.append(fhe.LookupTable(np.repeat(padded, 1 << stage.lsbs)))
    return fhe.LookupTable(rows)


def _extreme_inputs(graph: IntegerGraph) -> list[Int64]:
    """Return the inputs that give Concrete the types: the smallest, the largest, the witnesses.

    Random rows show it the sign of outputs, where a graph has negative ones.
    """
    at_low, at_high = graph.prove().witnesses()
    shape = (_ROWS_FOR_SIGNS, graph.n_features)
    random = np.random.default_rng(0).integers(0, 2**graph.n_bits, shape)
    rows = np.concatenate([at_low, at_high, random]).astype(np.int64)
    smallest = np.zeros(graph.n_features, dtype=np.int64)
    largest = np.full(graph.n_features, 2**graph.n_bits - 1, dtype=np.int64)
    return [smallest, largest, *rows]
