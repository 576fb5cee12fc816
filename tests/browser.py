"""A headless browser for tests: it reaches this machine alone, and says what pages did in it.

It is Chromium, as Debian ships it, or what CHROMIUM names. Where there is none, tests that ask for
it are skipped; with CIPHERFIT_REQUIRE_BROWSER=1 they fail.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from processes import LONG

REQUIRED = "CIPHERFIT_REQUIRE_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_HERE = {"127.0.0.1", "localhost", "::1"}
_LOCAL_SCHEMES = {"about", "blob", "data", "file"}
#: Even what no page asks for, such as a look-up ahead of a click, finds no other machine.
_NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"


def find_browser() -> str | None:
    """Return the path of a browser, if there is one."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)


def lacking(what: str) -> None:
    """Skip a test for want of a browser, or fail it where there has to be one."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, and there is {what}")
    pytest.skip(f"there is {what}")


class Shown:
    """A page in a browser, and what it did.

    Parameters
    ----------
    context : playwright.sync_api.BrowserContext
        Which it is opened in, and closed with.
    address : str or Path
        A URL, or a file.

    Attributes
    ----------
    page : playwright.sync_api.Page
        To click, type and look things up in.
    requests : list of str
        URLs that were asked for.
    refused : list of str
        Those of them that are not of this machine, which were not let out.
    errors : list of str
        What the console says as errors, and exceptions that nobody caught.
    """

    def __init__(self, context, address: str | Path) -> None:
        self.requests: list[str] = []
        self.refused: list[str] = []
        self.errors: list[str] = []
        context.route("**/*", self._route)
        context.route_web_socket("**/*", self._route_web_socket)
        self.page = context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        url = address.absolute().as_uri() if isinstance(address, Path) else address
        self.response = self.page.goto(url)

    def screenshot(self, path: str | Path, width: int = 1440, *, whole: bool = True) -> Path:
        """Take a picture of the page at a width in CSS pixels, of all of it or of what is seen."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.screenshot(path=path, full_page=whole, animations="disabled")
        return Path(path)

    def is_wider_than(self, width: int) -> bool:
        """Whether a reader with a screen of so many CSS pixels has to scroll sideways."""
        self.page.set_viewport_size({"width": width, "height": 900})
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")

    def barriers(self, *impacts: str) -> list[str]:
        """Return what axe says keeps people out; default: what is serious or critical."""
        from axe_playwright_python.sync_playwright import Axe

        wanted = impacts or ("serious", "critical")
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html']}"
            for one in found
            if one["impact"] in wanted
            for node in one["nodes"]
        ]

    def _said(self, message) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _route(self, route) -> None:
        if self._admits(route.request.url):
            route.continue_()
        else:
            route.abort()

    def _route_web_socket(self, socket) -> None:
        if self._admits(socket.url):
            socket.connect_to_server()
        else:
            socket.close()

    def _admits(self, url: str) -> bool:
        self.requests.append(url)
        parts = urlsplit(url)
        is_here = parts.scheme in _LOCAL_SCHEMES or parts.hostname in _HERE
        if not is_here:
            self.refused.append(url)
        return is_here


@pytest.fixture(scope="module")
def browser():
    """Start a browser for the tests of a module."""
    path = find_browser()
    if path is None:
        lacking("no browser: install chromium, or name one in CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        lacking(f"no playwright ({error}): pip install 'cipherfit[test]'")
    # Chromium's sandbox doesn't start for root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=[*options, _NO_NETWORK], timeout=1e3 * LONG
        )
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """Show pages: call it with a URL or a file, and options of playwright's `new_context`."""
    contexts = []

    def show(address: str | Path, *, width: int = 1440, dark: bool = False, **options) -> Shown:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            service_workers="block",
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(1e3 * LONG)
        return Shown(context, address)

    yield show
    for context in contexts:
        context.close()
