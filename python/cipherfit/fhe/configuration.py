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
        if name not in (*STORED, *_SHOWN) and value != defaults[name]:
            raise SerializationError(
                f"the model was compiled with {name}={value!r}, which can't be stored: compile it "
                f"without (stored are {', '.join(STORED)})"
            )
    return {name: getattr(configuration, name) for name in STORED}


def restored_configuration(options: dict[str, Any]) -> fhe.Configuration:
    """Return the configuration of what `stored_options` gave."""
    return fhe.Configuration(dump_artifacts_on_unexpected_failures=False, **options)
