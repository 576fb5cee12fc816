"""What the parts of one service share."""

from __future__ import annotations

from dataclasses import dataclass, field

from cipherfit.serve.admission import Admission
from cipherfit.serve.keys import KeyStore
from cipherfit.serve.metrics import Metrics
from cipherfit.serve.models import ServedModel
from cipherfit.serve.refusals import RefusedError
from cipherfit.serve.tenants import Authenticate


@dataclass(frozen=True)
class Deadlines:
    """Seconds that parts of a request may take.

    Parameters
    ----------
    body : float
        For a prediction's body to come in, and for an upload between two of its pieces.
    run : float
        For a prediction to wait and run.
    """

    body: float
    run: float


@dataclass(frozen=True)
class Service:
    """Models, keys, and who may use them.

    Parameters
    ----------
    models : dict of str to ServedModel
        By digest.
    keys : KeyStore
        Evaluation keys.
    authenticate : callable
        From a token to a tenant, or None.
    predictions, uploads : Admission
        Bounds on what is taken on.
    deadlines : Deadlines
        How long that may take.
    metrics : Metrics
        What is counted.
    """

    models: dict[str, ServedModel]
    keys: KeyStore
    authenticate: Authenticate
    predictions: Admission
    uploads: Admission
    deadlines: Deadlines
    metrics: Metrics
    uploading: set[tuple[str, str]] = field(default_factory=set)

    def model(self, digest: str) -> ServedModel:
        """Return a model.

        Raises
        ------
        RefusedError
            404 if there is none such.
        """
        if digest not in self.models:
            raise RefusedError(404, "unknown_model", f"no model {digest[:12]}... is served here")
        return self.models[digest]

    async def close(self) -> None:
        """End all that runs."""
        for model in self.models.values():
            await model.close()
        self.keys.close()
