"""Pages of HTML that need nothing from a network: one look, one way to make them.

Whatever a page is given is text: Jinja2 escapes it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from cipherfit.exceptions import MissingDependencyError

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template : str
        Name of a file in ``templates``, which extends ``base.html``.
    **values
        What it shows. Undefined ones are errors, and texts are escaped.

    Raises
    ------
    MissingDependencyError
        If Jinja2 is not installed.
    """
    return _environment().get_template(template).render(**values)


def asset(name: str) -> str:
    """Return the text of a file that pages use, such as ``"base.css"``."""
    return (files(__name__) / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError(
            "pages need Jinja2: pip install 'cipherfit[report]'"
        ) from error
    return Environment(
        loader=PackageLoader("cipherfit.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
