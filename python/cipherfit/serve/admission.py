"""How many predictions wait or run, in all and for each tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cipherfit.serve.refusals import busy


class Admission:
    """Bounds on what is taken on; what is beyond is refused at once, with a time to come back.

    Parameters
    ----------
    total, per_tenant : int
        Predictions that wait or run at a time. No tenant can take all places.
    """

    def __init__(self, total: int, per_tenant: int) -> None:
        self._total = total
        self._per_tenant = per_tenant
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken.total()

    @contextmanager
    def place(self, tenant: str) -> Iterator[None]:
        """Hold a place.

        Raises
        ------
        RefusedError
            429 if there is none.
        """
        if self._taken[tenant] >= self._per_tenant:
            raise busy(f"{self._per_tenant} of your requests wait or run already")
        if self.taken >= self._total:
            raise busy(f"{self._total} requests wait or run already", 2)
        self._taken[tenant] += 1
        try:
            yield
        finally:
            self._taken[tenant] -= 1
            if not self._taken[tenant]:
                del self._taken[tenant]
