"""The client's side of the page: it holds the keys, and asks the service about rows in clear."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.fields import Field, fields_of, row_of
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets
from cipherfit.serve.client import Client

#: Bytes of a message that are shown.
_SHOWN_BYTES = 2560
_MOST_FEATURES = 4096


class LocalClient:
    """A client with keys, and the whole model beside it, to compare answers with.

    Parameters
    ----------
    client : Client
        Of the service.
    predictor : Predictor
        The model that is served.

    Raises
    ------
    InvalidParameterError
        If the model has more features than a page can show.
    """

    def __init__(self, client: Client, predictor: Predictor) -> None:
        if predictor.n_features > _MOST_FEATURES:
            raise InvalidParameterError(
                f"the model has {predictor.n_features} features, and a page shows {_MOST_FEATURES} "
                "at most: use cipherfit.Client"
            )
        self.client = client
        self.predictor = predictor
        self.fields: list[Field] = fields_of(predictor)
        self._turn = threading.Lock()

    def answer(self, given: Sequence[object]) -> dict[str, Any]:
        """Return the service's answer to a row, and what went over the wire for it.

        Parameters
        ----------
        given : sequence
            What was given for each of `fields`.

        Returns
        -------
        dict
            Ready for JSON.

        Raises
        ------
        InvalidInputError
            If it can't be a row of the model: `FieldError` where one value can't be.
        ServiceError
            If the service doesn't answer.
        """
        row = row_of(self.predictor, self.fields, given)
        model = self.client.model
        with self._turn:
            times = [time.perf_counter()]
            request = self.client.encrypt(row)
            times.append(time.perf_counter())
            reply = self.client.ask(request, 1)
            times.append(time.perf_counter())
            sums = self.client.decrypt(reply)
            answer = _plain(model.answer(sums)[0])
            times.append(time.perf_counter())
        in_clear = self.predictor.graph.simulate(self.predictor.quantize_input(row))
        steps = 1e3 * np.diff(times)
        return {
            "answer": answer,
            "probabilities": self._probabilities(sums),
            "same_answer": answer == _plain(model.answer(in_clear)[0]),
            "same_integers": bool((sums == in_clear).all()),
            "sums": sums[0].tolist(),
            "request": _shown(request),
            "reply": _shown(reply),
            "milliseconds": dict(
                zip(("encrypt", "round_trip", "decrypt"), steps.round(3).tolist(), strict=True)
            ),
            "notes": self._notes(given),
        }

    def _probabilities(self, sums: Any) -> list[dict[str, Any]] | None:
        targets = self.client.model.surroundings.targets
        if not isinstance(targets, ClassTargets):
            return None
        values = self.client.model.answer_proba(sums)[0].tolist()
        labels = map(str, targets.classes.tolist())
        return [
            {"label": label, "probability": value if np.isfinite(value) else None}
            for label, value in zip(labels, values, strict=True)
        ]

    def _notes(self, given: Sequence[object]) -> list[str]:
        """Say which values are unlike those of training."""
        return [
            f"{field.name} = {one} is outside {field.low:g} to {field.high:g}, which the model was "
            "made for"
            for field, one in zip(self.fields, given, strict=True)
            if field.choices is None and field.is_beyond(field.value(one))
        ]


def _shown(message: bytes) -> dict[str, Any]:
    return {"bytes": len(message), "beginning": message[:_SHOWN_BYTES].hex()}


def _plain(answer: Any) -> Any:
    """Return a label as text, a target as a number, several targets as a list."""
    values = np.asarray(answer)
    if values.ndim:
        return [_plain(value) for value in values]
    value = values.item()
    return value if isinstance(value, float) else str(value)
