"""Browser of the tests: pages that are opened from files, with all that they do wrong."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# What a browser does by itself, without any page.
QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-gpu")
OWN = ("data:", "blob:", "about:")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window, driven by playwright; skips where either is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium: `CHROMIUM` is its path")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=list(QUIET))
        yield found
        found.close()


class Seen:
    """A page that was opened, and what it did.

    Attributes:
      page: of playwright. errors: of its console and scripts. requests: addresses that it
        asked for, its own among them.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def assert_clean(self, *allowed: str) -> None:
        """No error, and no request but to addresses that begin so."""
        assert self.errors == []
        others = [url for url in self.requests if not url.startswith((*OWN, *allowed))]
        assert others == []

    def assert_fits(self) -> None:
        """The page is as wide as the window: nothing scrolls sideways but within it."""
        inside, width = self.page.evaluate(
            "[document.documentElement.scrollWidth, window.innerWidth]"
        )
        assert inside <= width


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Seen]]:
    """Opens an address or a file in a window of some width, light or dark.

    Args of the function that it gives: `place`, a path or an address; `width` and
    `scheme`, by default 1280 and "light". Windows up to 500 wide are phones.
    """
    contexts: list[Any] = []

    def open_(place: Path | str, width: int = 1280, scheme: str = "light") -> Seen:
        phone = width <= 500
        context = browser.new_context(
            viewport={"width": width, "height": 844 if phone else 900},
            color_scheme=scheme, has_touch=phone, is_mobile=phone,
            accept_downloads=True, reduced_motion="reduce",
        )  # fmt: skip
        contexts.append(context)
        seen = Seen(context.new_page())
        seen.page.goto(place.as_uri() if isinstance(place, Path) else place)
        return seen

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def page(opened: Callable[..., Seen]) -> Seen:
    """An empty page of 1280 pixels."""
    return opened("about:blank")
