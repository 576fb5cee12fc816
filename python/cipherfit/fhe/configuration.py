"""Options of Concrete's as plain values, for files: those that are safe to take from one."""

from __future__ import annotations

from typing import Any

from cipherfit.exceptions import SerializationError
from cipherfit.fhe.runtime import fhe

#: Options that change what is compiled, and weaken nothing; as `predictor.compilation` checks them.
STORED = (
    "auto_parallelize",
    "compress_evaluation_keys",
    "compress_input_ciphertexts",
    "dataflow_parallelize",
    "fhe_execution",
    "fhe_simulation",
    "global_p_error",
    "loop_parallelize",
    "p_error",
    "single_precision",
)
#: An option of cipherfit's own, kept beside them.
_OUTPUT_BITS = "n_output_bits"
#: Options that change what is shown, or where it is left, and no circuit.
_SHOWN = (
    "compiler_verbose_mode",
    "dump_artifacts_on_unexpected_failures",
    "print_tlu_fusing",
    "progress_tag",
    "progress_title",
    "show_assigned_graph",
    "show_bit_width_assignments",
    "show_bit_width_constraints",
    "show_graph",
    "show_mlir",
    "show_optimizer",
    "show_progress",
    "show_statistics",
    "verbose",
)


def stored_options(configuration: fhe.Configuration) -> dict[str, Any]:
    """Return how a circuit was compiled, as plain values.

    Raises
    ------
    SerializationError
        Naming an option that differs from Concrete's default, and is none that is stored.
    """
    defaults = vars(fhe.Configuration())
    for name, value in vars(configuration).items():
        if name not in (*STORED, *_SHOWN, _OUTPUT_BITS) and value != defaults[name]:
            raise SerializationError(
                f"the model was compiled with {name}={value!r}, which can't be stored: compile it "
                f"without (stored are {', '.join(STORED)})"
            )
    options = {name: getattr(configuration, name) for name in STORED}
    return {**options, _OUTPUT_BITS: output_bits_of(configuration)}


def restored_configuration(options: dict[str, Any]) -> fhe.Configuration:
    """Return the configuration of what `stored_options` gave."""
    concrete = {name: value for name, value in options.items() if name != _OUTPUT_BITS}
    configuration = fhe.Configuration(dump_artifacts_on_unexpected_failures=False, **concrete)
    return with_output_bits(configuration, options[_OUTPUT_BITS])


def output_bits_of(configuration: fhe.Configuration | None) -> int | None:
    """Return how many bits of outputs are free of noise; None where all are."""
    bits: int | None = getattr(configuration, _OUTPUT_BITS, None)
    return bits


def with_output_bits(configuration: fhe.Configuration, bits: int | None) -> fhe.Configuration:
    """Return a configuration that says so, beside Concrete's own options: the same one."""
    setattr(configuration, _OUTPUT_BITS, bits)
    return configuration
