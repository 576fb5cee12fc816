"""Pages show what they are given as text, and ask nothing of a network."""

from __future__ import annotations

import re

import pytest
from jinja2 import UndefinedError

from cipherfit.pages import _environment, asset, render


def test_a_page_has_the_house_style_and_names_no_other_place():
    page = render("base.html")
    assert asset("base.css").strip() in page
    assert re.findall(r"(?:https?:)?//[\w.]+", page) == []


def test_what_is_shown_is_text():
    page = _environment().from_string("<p>{{ name }}</p>").render(name="<script>\"&'")
    assert page == "<p>&lt;script&gt;&#34;&amp;&#39;</p>"


def test_what_a_page_lacks_is_an_error():
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        _environment().from_string("{{ name }}").render()
