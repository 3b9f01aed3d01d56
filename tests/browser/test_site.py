"""Site of `make docs`: links, mathematics, search, schemes, on a screen and on a phone."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.browser.conftest import Seen

SITE = Path(__file__).parents[2] / "site"
PAGES = sorted(str(p.relative_to(SITE)) for p in SITE.rglob("*.html"))
Opened = Callable[..., Seen]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not PAGES, reason="needs the site: `make docs` builds it"),
]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the site, without a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A file server of the site."""
    handler = functools.partial(Handler, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


class Found(HTMLParser):
    """Links, pictures and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for every tag."""
        for name, value in attrs:
            if value and (
                (tag in ("a", "link") and name == "href")
                or (tag == "img" and name == "src")
            ):
                self.links.add(value)
            if value and name in ("id", "name"):
                self.anchors.add(value)


@functools.cache
def found(page: str) -> Found:
    """What a page of the site holds."""
    parser = Found()
    parser.feed((SITE / page).read_text("utf-8"))
    return parser


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """To files of the site and to anchors on them; pictures too."""
    broken = []
    for link in found(page).links:
        parts = urlsplit(urljoin(f"site://x/{page}", link))
        if parts.scheme != "site":
            continue
        place = unquote(parts.path).lstrip("/") or "index.html"
        place += "index.html" if place.endswith("/") else ""
        there = (SITE / place).is_file()
        anchor = unquote(parts.fragment)
        looked = there and place.endswith(".html") and anchor not in ("", "__skip")
        looked = looked and not anchor.startswith("only-")
        if not there or (looked and anchor not in found(place).anchors):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("page", PAGES)
def test_page(opened: Opened, address: str, page: str, width: int, scheme: str) -> None:
    """Without errors, other servers and sideways scrolling; mathematics is typeset."""
    seen = opened(address + page, width, scheme)
    seen.page.wait_for_load_state("networkidle")
    if page != "404.html":
        seen.assert_clean(address)
    seen.assert_fits()
    marked = seen.page.locator(".arithmatex").count()
    assert seen.page.locator(".arithmatex .katex").count() >= marked
    assert seen.page.locator(".katex-error").count() == 0
    shown = "slate" if scheme == "dark" else "default"
    assert seen.page.locator("body").get_attribute("data-md-color-scheme") == shown
    other = "light" if scheme == "dark" else "dark"
    assert not any(
        picture.is_visible()
        for picture in seen.page.locator(f'img[src$="#only-{other}"]').all()
    )


def test_mathematics_and_pictures_are_there(opened: Opened, address: str) -> None:
    """So that the other tests look at some."""
    seen = opened(f"{address}mathematics/gram.html")
    seen.page.wait_for_selector(".katex")
    assert seen.page.locator(".katex").count() > 20
    seen = opened(f"{address}gallery/index.html")
    loaded = "[...document.images].filter(x => x.offsetParent && x.naturalWidth).length"
    seen.page.wait_for_load_state("networkidle")
    assert seen.page.evaluate(loaded) >= 12


def test_search(opened: Opened, address: str) -> None:
    """Finds a function of the reference, without another server."""
    seen = opened(address)
    seen.page.keyboard.press("/")
    seen.page.locator("input.md-search__input").fill("local_component_norms")
    found = seen.page.locator('.md-search-result__link[href*="reference/instruments"]')
    found.first.wait_for()
    assert "local_component_norms" in found.first.inner_text()
    seen.page.goto(found.first.get_attribute("href"))
    assert "local_component_norms" in seen.page.inner_text("article")
    seen.assert_clean(address)


def test_schemes(opened: Opened, address: str) -> None:
    """A button goes through: as the system, light, dark."""
    seen = opened(f"{address}gallery/local_components.html")
    body = seen.page.locator("body")
    shown = []
    for _ in range(3):
        shown.append(body.get_attribute("data-md-color-scheme"))
        seen.page.locator("label.md-header__button:not([hidden])[for^=__palette]").click()
    assert set(shown) == {"default", "slate"}
    seen.assert_clean(address)


def test_downloads(opened: Opened, address: str) -> None:
    """Every example is a notebook and a script."""
    seen = opened(address)
    examples = [p for p in PAGES if p.startswith("gallery/") and "index" not in p]
    examples = [p for p in examples if "thumbnails" not in p]
    assert len(examples) >= 12
    for page in examples:
        for ending in (".ipynb", ".py"):
            name = Path(page).with_suffix(ending)
            assert name.name in {link.split("/")[-1] for link in found(page).links}
            assert seen.page.request.get(f"{address}{name}").ok
