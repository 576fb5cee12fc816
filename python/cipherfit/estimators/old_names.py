"""Names that options had in Concrete ML, and what they are called here."""

from __future__ import annotations

from collections.abc import Iterable

from cipherfit.exceptions import InvalidParameterError

_ALWAYS_SYMMETRIC = "weights are always symmetric and narrow here, so leave it out"
#: What to do about options of Concrete ML 1.x that have another name here, or none.
RENAMED = {
    "module__quant_narrow": _ALWAYS_SYMMETRIC,
    "module__quant_signed_weights": _ALWAYS_SYMMETRIC,
    "module__power_of_two_scaling": (
        "scales are free here; for cheaper lookups set module__n_lookup_bits and module__rounding"
    ),
    "module__n_prune_neurons_percentage": "call prune(X, y, fraction) after fit",
    "module__n_hidden": "it is module__n_hidden_neurons",
    "module__num_layers": "it is module__n_layers",
    "n_bits": "they are module__n_w_bits and module__n_a_bits",
}
_OF_THE_ESTIMATOR = ("verbose", "batch_size", "max_epochs", "epochs", "lr", "callbacks")


def check_options(names: Iterable[str]) -> None:
    """Refuse options by the names that they had in Concrete ML.

    Raises
    ------
    InvalidParameterError
        With the name here, or what to do instead.
    """
    for name in names:
        if name in RENAMED:
            raise InvalidParameterError(f"{name} is an option of Concrete ML: {RENAMED[name]}")


def check_fit_options(names: Iterable[str]) -> None:
    """Refuse options of the estimator that are given to `fit`."""
    for name in names:
        if name in _OF_THE_ESTIMATOR or "__" in name:
            own = "max_epochs" if name == "epochs" else name
            raise InvalidParameterError(
                f"fit takes no {name}: it is an option of the estimator, so give {own} to its "
                f"constructor, or call set_params({own}=...)"
            )
