"""What a model was made and is run with: versions and licences, as installed."""

from __future__ import annotations

import platform
from importlib import metadata

import cipherfit
from cipherfit.predictor.predictor import Predictor
from cipherfit.report.data import Software
from cipherfit.report.words import shown

_SHARED = {"numpy": "arrays"}
_TRAINING = {"torch": "training", "skorch": "training", "scikit-learn": "training, pipelines"}
#: Licences that packages' metadata don't tell as their LICENSE does.
_LICENCES = {"concrete-python": "BSD-3-Clause-Clear"}
#: The longest that is the name of a licence, and not its text.
_MOST_CHARACTERS = 120
_CONCRETE = (
    "Encrypted lookups run on concrete-python, which Zama publishes under the BSD-3-Clause-Clear "
    "licence: that grants no patent rights, and commercial use of Zama's technology needs a patent "
    "licence from Zama. Read its LICENSE before you deploy."
)
_BFV = (
    "Nothing of Zama's runs here. The arithmetic under BFV is fhe.rs (MIT), whose makers call it "
    "experimental and not audited; the encryption above it is cipherfit's own, and is not audited "
    "either."
)


def software_of(predictor: Predictor, *, trained_here: bool) -> tuple[Software, ...]:
    """Return what a model is run with, and where it is an estimator, was trained with.

    Parameters
    ----------
    predictor : Predictor
        The model.
    trained_here : bool
        Whether it is an estimator, and no file that was loaded.
    """
    wanted = {**_SHARED, **(_TRAINING if trained_here else {})}
    if predictor.graph.n_lookups:
        wanted["concrete-python"] = "encrypted lookups"
    return (
        Software("cipherfit", cipherfit.__version__, "Apache-2.0", "all that is proven and run"),
        Software("Python", platform.python_version(), "PSF-2.0"),
        *(_installed(name, note) for name, note in wanted.items()),
    )


def licences_of(predictor: Predictor) -> tuple[str, ...]:
    """Return what is to be known of the licences behind a model's encryption."""
    return (_CONCRETE,) if predictor.graph.n_lookups else (_BFV,)


def _installed(name: str, note: str) -> Software:
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return Software(name, "not installed", "", note)
    return Software(name, found["Version"], _LICENCES.get(name) or _licence(found), note)


def _licence(found: metadata.PackageMetadata) -> str:
    """Return the name of a licence: newer packages say it in one field, others in another."""
    for key in ("License-Expression", "License"):
        text = str(found[key]).strip() if key in found else ""
        if text and len(text) <= _MOST_CHARACTERS:
            return shown(text, _MOST_CHARACTERS)
    classifiers = found.get_all("Classifier") or ()
    named = [one.rpartition(":: ")[2] for one in classifiers if one.startswith("License ::")]
    return shown(", ".join(named), _MOST_CHARACTERS)
