"""The hand-off of an integer graph to Concrete.

The circuit is built directly: integer weights as constants, one table per neuron, and the types
that the graph's certificate proves (`cipherfit.fhe.types`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import CipherfitWarning, CompilationError, InvalidParameterError
from cipherfit.fhe.configuration import output_bits_of, with_output_bits
from cipherfit.fhe.outputs import BareOutputs, read_in_full
from cipherfit.fhe.rows import RowServer
from cipherfit.fhe.runtime import fhe, prepare_thread, remove_with
from cipherfit.fhe.strategies import Strategy, fastest, strategies_for
from cipherfit.fhe.types import ProvenTypes, TypedStage, place_of, typed_stages
from cipherfit.integers import IntegerType
from cipherfit.limits import LEAST_OUTPUT_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import fraction, integer
from cipherfit.stages import encrypted_part

Int64 = NDArray[np.int64]

#: Probability that one lookup gives a neighbour's value, where the caller names none.
DEFAULT_P_ERROR = 0.01
#: Concrete's own for sums that no lookup reads, which costs next to nothing there: they are exact.
_P_ERROR_WITHOUT_LOOKUPS = 2.0**-40
#: Bytes of keys from which on they are worth a warning.
LARGE_KEYS = 1_000_000_000


def compile_graph(
    graph: IntegerGraph,
    *,
    configuration: fhe.Configuration | None = None,
    p_error: float | None = None,
    n_output_bits: int | None = None,
    artifacts: fhe.DebugArtifacts | None = None,
    show_mlir: bool = False,
    simulation_only: bool = False,
    warn_of_size: bool = True,
) -> fhe.Circuit:
    """Compile an integer graph to a Concrete circuit whose integers hold every proven value.

    Parameters
    ----------
    graph : IntegerGraph
        The network, of which all but the client layers is compiled. Its certificate gives all
        widths: no calibration data are needed.
    configuration : fhe.Configuration, optional
        Concrete's options; `p_error` and `simulation_only` are set on a copy of it. Default: its
        own, but that inputs are sent compressed, in a thousandth of the bytes. Of its strategies
        of parameters the fastest is taken, where lookups follow lookups and it names none.
    p_error : float in (0, 1), optional
        Probability that one lookup errs. Default: the configuration's where it names one, else
        0.01, which a network with quantized activations shrugs off. Without lookups nothing errs,
        whatever it is.
    n_output_bits : int, optional
        At least 3: high bits of the outputs that encryption leaves right, each output with the
        probability ``1 - p_error``; those below may carry noise. The fewer they are the cheaper
        may be the lookups before outputs of many bits. Default: the configuration's where it
        comes from such a circuit, else all. Sums of no lookups are always exact, and so is
        Concrete's simulation.
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
        Takes codes of shape (n_features,), those of the last client layer where there are any;
        gives accumulators of shape (n_outputs,). Its `rows`, a `RowServer`, runs many of
        them; its `integer_graph` is what was compiled.

    Raises
    ------
    CompilationError
        If Concrete has no lookup or no crypto-parameters for the proven widths, or if the circuit
        that it made is narrower than the proof.
    """
    graph = encrypted_part(graph)
    if n_output_bits is None:
        n_output_bits = output_bits_of(configuration)
    else:
        n_output_bits = integer("n_output_bits", n_output_bits, LEAST_OUTPUT_BITS)
    configuration = _configure(configuration, p_error, simulation_only)
    encrypts_alone = configuration.fhe_execution and not configuration.fhe_simulation
    noisy = graph.n_lookups > 0 and encrypts_alone
    stages = typed_stages(graph, n_output_bits if noisy else None)
    _check_supported(stages)
    if not graph.n_lookups:
        configuration = configuration.fork(p_error=_P_ERROR_WITHOUT_LOOKUPS)
    strategies = strategies_for(configuration, sum(bool(stage.tables) for stage in stages))

    def compiled(strategy: Strategy, **options: Any) -> fhe.Circuit:
        return _compiled(stages, graph.n_bits, configuration, strategy, **options)

    try:
        circuit, strategy = fastest(compiled, strategies)
        if artifacts is not None or show_mlir:
            circuit = compiled(strategy, artifacts=artifacts, show_mlir=show_mlir)
    except RuntimeError as error:
        message = _why_not(stages, graph.n_bits, configuration, error)
        raise CompilationError(message) from error
    with_output_bits(circuit.configuration, n_output_bits)
    check_widths(circuit, graph)
    if configuration.fhe_execution:
        circuit.rows = _row_server(circuit, stages, graph, strategy)
        circuit.integer_graph = graph
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
    graph = encrypted_part(graph)
    needed = {"input": (graph.n_bits, False)}
    for index, stage in enumerate(typed_stages(graph)):
        needed[f"layer{index}"] = (stage.accumulators.bits, stage.accumulators.signed)
    found: dict[str, tuple[int, bool]] = {}
    for node in circuit.graph.graph.nodes:
        tag, name = place_of(node)
        if name in ("input", "add"):
            dtype = node.output.dtype
            found[tag or name] = (dtype.bit_width, dtype.is_signed)
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


def _row_server(
    circuit: fhe.Circuit, stages: list[TypedStage], graph: IntegerGraph, strategy: Strategy
) -> RowServer:
    """Return what runs many rows, by circuits of the same stages that are compiled when needed."""
    configuration = circuit.configuration

    def compile_for(n_rows: int) -> fhe.Circuit:
        try:
            several = _compiled(stages, graph.n_bits, configuration, strategy, n_rows=n_rows)
        except RuntimeError as error:
            raise CompilationError(f"Concrete can't compile {n_rows} rows: {error}") from error
        check_widths(several, graph)
        return several

    return RowServer(circuit, compile_for)


def _compiled(
    stages: list[TypedStage],
    n_bits: int,
    configuration: fhe.Configuration,
    strategy: Strategy | None = None,
    *,
    n_rows: int | None = None,
    **options: Any,
) -> fhe.Circuit:
    """Compile stages with their own types, whatever Concrete makes of the zeros that it sees.

    Without `n_rows` the circuit takes one row, of shape (n_features,).
    """
    prepare_thread()
    noisy_outputs = not stages[-1].tables and stages[-1].lsbs > 0
    before, after = (
        configuration.additional_pre_processors,
        configuration.additional_post_processors,
    )
    changed = {
        "additional_pre_processors": [*before, ProvenTypes(n_bits, stages)],
        "additional_post_processors": [*after, *([BareOutputs()] if noisy_outputs else [])],
        **(strategy or {}),
    }
    typed = configuration.fork(**changed)
    compiler = fhe.Compiler(_network_function(stages), {"codes": "encrypted"})
    shape = (() if n_rows is None else (n_rows,)) + (stages[0].weights.shape[1],)
    zeros = np.zeros(shape, dtype=np.int64)
    circuit = compiler.compile([zeros], configuration=typed, **options)
    # What a copy is compiled with again is what the user gave.
    for name in changed:
        setattr(circuit.configuration, name, getattr(configuration, name))
    if noisy_outputs:
        read_in_full(circuit, stages[-1].accumulators.bits)
    return remove_with(circuit)


def _check_supported(stages: list[TypedStage]) -> None:
    for index, stage in enumerate(stages):
        if stage.tables and stage.accumulators.bits > MAX_LOOKUP_BITS:
            raise CompilationError(
                f"layer {index} has accumulators of {stage.accumulators.bits} bits before its "
                f"lookups, and Concrete handles at most {MAX_LOOKUP_BITS} there: train with "
                f"module__n_accum_bits at most {MAX_LOOKUP_BITS} (8 or fewer are fast), which fits "
                "at 3-bit weights and activations"
            )


def _widest_lookup(stages: list[TypedStage]) -> tuple[int, int]:
    """Return the layer that reads the most bits, and how many."""
    read = [stage.bits_read for stage in stages]
    return int(np.argmax(read)), max(read)


def _why_not(
    stages: list[TypedStage], n_bits: int, configuration: fhe.Configuration, error: Exception
) -> str:
    """Say which layer is to blame, and the widest with which the circuit compiles."""
    configuration = configuration.fork(dump_artifacts_on_unexpected_failures=False)
    outputs = stages[-1].accumulators.bits
    for bits in range(outputs - 1, MAX_LOOKUP_BITS - 1, -1):
        if _compiles([*stages[:-1], _narrowed(stages[-1], bits)], n_bits, configuration):
            return (
                f"Concrete can't compile layer {len(stages) - 1}, whose sums have {outputs} bits: "
                f"{error}. The nearest that compiles is {bits} bits: narrower weights and inputs "
                f"give them, or module__n_accum_bits={bits}"
            )
    layer, widest = _widest_lookup(stages)
    blame = (
        f"Concrete can't compile layer {layer}, whose lookups read {widest} bits of accumulators "
        f"of {stages[layer].accumulators.bits}, at p_error={configuration.p_error}: {error}. "
    )
    for name, narrowed in (("lookup", _reading), ("accum", _within)):
        for bits in range(widest - 1, 0, -1):
            # Codes narrow with the accumulators; lookups that read less leave them as they are.
            codes = n_bits if narrowed is _reading else min(n_bits, bits)
            if _compiles([narrowed(stage, bits) for stage in stages], codes, configuration):
                return f"{blame}The nearest that compiles is module__n_{name}_bits={bits}"
    return f"{blame}A larger p_error may help"


def _compiles(stages: list[TypedStage], n_bits: int, configuration: fhe.Configuration) -> bool:
    try:
        _compiled(stages, n_bits, configuration)
    except RuntimeError:
        return False
    return True


def _reading(stage: TypedStage, bits: int) -> TypedStage:
    """Return a stage of the same cost as one whose lookups read at most so many bits."""
    if stage.bits_read <= bits:
        return stage
    return replace(
        stage,
        lsbs=stage.accumulators.bits - bits,
        exactness=fhe.Exactness.APPROXIMATE,
        tables=[table[: 1 << bits] for table in stage.tables],
    )


def _within(stage: TypedStage, bits: int) -> TypedStage:
    """Return a stage of the same cost as one whose accumulators have at most so many bits."""
    if stage.accumulators.bits <= bits:
        return stage
    return replace(
        stage,
        offset=np.zeros_like(stage.offset),
        accumulators=IntegerType(bits),
        lsbs=0,
        tables=[table[: 1 << bits] for table in stage.tables],
    )


def _narrowed(stage: TypedStage, bits: int) -> TypedStage:
    """Return a last stage of the same cost as one whose sums have fewer bits: weights lose them."""
    lost = stage.accumulators.bits - bits
    return replace(_within(stage, bits), weights=stage.weights >> lost)


def _warn_of_large_keys(circuit: fhe.Circuit, stages: list[TypedStage]) -> None:
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
    if configuration is not None and not isinstance(configuration, fhe.Configuration):
        raise InvalidParameterError(
            f"configuration={configuration!r} must be a concrete.fhe.Configuration"
        )
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
        base = fhe.Configuration(
            dump_artifacts_on_unexpected_failures=False, compress_input_ciphertexts=True
        )
    return base.fork(**options)


def _network_function(stages: list[TypedStage]) -> Callable[[Any], Any]:
    lookups = [_lookup_table(stage) for stage in stages]

    def network(codes: Any) -> Any:
        for index, (stage, table) in enumerate(zip(stages, lookups, strict=True)):
            with fhe.tag(f"layer{index}"):
                codes = codes @ stage.weights.T + stage.offset
                if stage.lsbs:
                    codes = fhe.round_bit_pattern(
                        codes,
                        lsbs_to_remove=stage.lsbs,
                        overflow_protection=False,  # the proven type holds the rounded top
                        exactness=stage.exactness,
                    )
                if table is not None:
                    codes = table[codes]
        return codes

    return network


def _lookup_table(stage: TypedStage) -> fhe.LookupTable | None:
    """Write a layer's tables as Concrete reads them: one entry per accumulator value."""
    if not stage.tables:
        return None
    n_entries = 1 << stage.bits_read
    rows = []
    for table in stage.tables:
        # Beyond its proven top a table repeats its last entry, so that an error upwards there
        # stays harmless.
        padded = np.pad(table, (0, n_entries - len(table)), mode="edge")
        rows.append(fhe.LookupTable(np.repeat(padded, 1 << stage.lsbs)))
    return fhe.LookupTable(rows)
