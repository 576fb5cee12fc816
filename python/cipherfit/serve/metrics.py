"""What is counted, for Prometheus: no tenants, keys or contents."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from cipherfit.serve.admission import Admission
from cipherfit.serve.keys import KeyStore

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one service.

    Parameters
    ----------
    keys : KeyStore
        Whose size is told.
    predictions : Admission
        Whose taken places are told.
    """

    def __init__(self, keys: KeyStore, predictions: Admission) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "cipherfit_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "cipherfit_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["route"],
            registry=self._registry,
        )
        self.rows = Counter(
            "cipherfit_frames",
            "Frames of encrypted rows that were answered.",
            ["backend"],
            registry=self._registry,
        )
        self.deaths = Counter(
            "cipherfit_worker_deaths",
            "Workers that ended or were ended while they ran.",
            ["why"],
            registry=self._registry,
        )
        for name, text, value in (
            ("cipherfit_key_bytes", "Bytes of all keys and uploads.", lambda: keys.total_bytes),
            ("cipherfit_keys", "Complete keys.", lambda: keys.n_keys),
            (
                "cipherfit_predictions_running",
                "Predictions that run or wait.",
                lambda: predictions.taken,
            ),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)

    def page(self) -> bytes:
        """Return all counters as Prometheus reads them."""
        return generate_latest(self._registry)
