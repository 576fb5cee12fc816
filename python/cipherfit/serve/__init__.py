"""The model as a service: who answers on encrypted rows, for whom, and with whose keys.

Names are imported when they are first used: a client needs none of what a service does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cipherfit.serve.page.demo import demo as demo
    from cipherfit.serve.service import serve as serve

#: The module that each name is imported from.
_HOMES = {"demo": "page.demo", "serve": "service"}

__all__ = [*sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"cipherfit.serve.{_HOMES[name]}"), name)
