"""Pieces of HTML as a reader has them: well formed, without scripts, with texts and tables."""

from __future__ import annotations

import re
from html.parser import HTMLParser

#: Text as hostile as names get.
HOSTILE = ["<script>alert(1)</script>", '"&', "</table></svg>", "'><img src=x onerror=alert(1)>"]


class Piece(HTMLParser):
    """A piece of HTML, read.

    Attributes
    ----------
    tags : list of str
        Names of the elements, in order.
    labels : list of str
        What pictures are called, for those who don't see them.
    facts : dict of str to str
        Tables of two columns: what stands beside each heading.
    rows : list of dict of str to str
        Rows of tables with a line of headings, by these.
    titles : list of str
        What is shown of a picture's parts when they are pointed at.
    paths : list of str
        What pictures draw.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.labels, self.titles, self.paths = [], [], [], []
        self.facts, self.rows = {}, []
        self._open, self._heads, self._row = [], [], []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self._open, f"{self._open} not closed"
        assert not {"script", "style", "img", "link", "iframe"} & set(self.tags)
        places = set(re.findall(r"https?://[^\s\"']+", html))
        assert places <= {"http://www.w3.org/2000/svg"}

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        if tag == "svg":
            assert attributes["role"] == "img"
            self.labels.append(attributes["aria-label"])
        if tag == "path":
            self.paths.append(attributes["d"])
        if tag == "thead":
            self._heads = []
        if tag == "tr":
            self._row = []
        if tag in ("td", "th"):
            self._row.append("")
        self._open.append((tag, attributes))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        opened, _ = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        if tag != "tr":
            return
        if ("thead", {}) in self._open:
            self._heads = self._row
        elif self._heads:
            self.rows.append(dict(zip(self._heads, self._row, strict=True)))
        else:
            name, value = self._row
            self.facts[name] = value

    def handle_data(self, data):
        tags = [tag for tag, _ in self._open]
        if "svg" in tags:
            if tags[-1] == "title":
                self.titles.append(data)
            return
        self.text += data
        if {"td", "th"} & set(tags):
            self._row[-1] += data
