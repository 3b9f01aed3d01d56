"""Reports in a browser: every control, light and dark, on a desk and on a phone."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import htfjax as htf
from sims import incremental_rank, report
from tests.browser.conftest import Seen
from tests.sims import reported

pytestmark = pytest.mark.browser
Open = Callable[..., Seen]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders, and a report of each kind of them."""
    out = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setattr(incremental_rank, "draw", lambda folder, view: None)
        reported.grid(out / "grid")
        reported.panel(out / "one")
        reported.another(out / "one", out / "two")
        for make in (reported.flows, reported.networks, reported.completion):
            make(out / make.__name__)
        for names in (("grid",), ("one",), ("one", "two"), ("flows",), ("networks",),
                      ("completion",)):  # fmt: skip
            paths = tuple(out / name for name in names)
            report.run(report.Options(paths, out=out / f"{'-'.join(names)}.html"))
        yield out


KINDS = ("grid", "one", "one-two", "flows", "networks", "completion")


def figure(seen: Seen, title: str) -> Any:
    """The figure whose title begins so."""
    heading = seen.page.locator("h3", has_text=re.compile(f"^{re.escape(title)}"))
    return seen.page.locator("figure", has=heading).first


def drawn(place: Any, what: str) -> Any:
    """A value of plotly's own account of a figure."""
    return place.locator(".plot").evaluate(f"plot => plot.{what}")


def downloaded(seen: Seen, link: Any) -> list[list[str]]:
    """Rows of the CSV file behind a link."""
    with seen.page.expect_download() as waiting:
        link.click()
    assert waiting.value.suggested_filename.endswith(".csv")
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", KINDS)
def test_a_page_opens(name: str, width: int, scheme: str, base: Path, opened: Open) -> None:
    """Without an error, a request or a sideways scroll; text is easy to read."""
    path = base / f"{name}.html"
    seen = opened(path, width, scheme)
    if seen.page.locator("#more").is_visible():
        seen.page.locator("#more summary").click()
    seen.assert_fits()
    seen.assert_clean(path.as_uri())
    assert seen.requests == [path.as_uri()]
    assert faint(seen) == []


# Elements whose text has less contrast than WCAG's AA asks for: 4.5, large text 3.
FAINT = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const style = getComputedStyle(element);
    if (!own || !element.getClientRects().length || style.visibility === "hidden") continue;
    if (element.closest("script, style, .legend")) continue;  // hidden lines are pale
    const inSvg = element instanceof SVGElement;
    if (inSvg && !element.closest(".tree, .xtick, .ytick, .g-xtitle, .g-ytitle")) continue;
    let back = behind(inSvg ? element.closest("svg").parentElement : element);
    const circle = inSvg && !element.matches(".below") &&
      element.parentElement.querySelector(":scope > circle");
    if (circle) back = parse(getComputedStyle(circle).fill);
    const [a, b] = [light(parse(inSvg ? style.fill : style.color)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) found.push(`${element.textContent}: ${ratio}`);
  }
  return found;
}"""


def faint(seen: Seen) -> list[str]:
    """Texts that are hard to read."""
    return seen.page.evaluate(FAINT)


def test_log_and_linear(base: Path, opened: Open) -> None:
    """Of one figure, while others stay."""
    seen = opened(base / "one.html")
    spectrum = figure(seen, "Singular values of a matricization")
    loss = figure(seen, "Loss that is descended")
    before = drawn(loss, "layout.yaxis.type")
    assert drawn(spectrum, "_fullLayout.yaxis.type") == "linear"
    spectrum.get_by_role("button", name="log").click()
    assert drawn(spectrum, "_fullLayout.yaxis.type") == "log"
    assert drawn(loss, "layout.yaxis.type") == before
    spectrum.get_by_role("button", name="linear").click()
    assert drawn(spectrum, "_fullLayout.yaxis.type") == "linear"
    seen.assert_clean((base / "one.html").as_uri())


def test_steps_and_path_length(base: Path, opened: Open) -> None:
    """Of all curves, with the label of the axis."""
    seen = opened(base / "one.html")
    loss = figure(seen, "Loss that is descended")
    runs = htf.load_results(base / "one").isel(seed=0)
    assert drawn(loss, "layout.xaxis.title.text") == "steps of descent before the record"
    assert drawn(loss, "data[0].x") == runs.step.values.tolist()
    assert (
        np.array(drawn(loss, "data[0].y"), np.float32).tolist() == runs.loss.values.tolist()
    )
    seen.page.locator("#clock").get_by_role("button", name="path length").click()
    assert drawn(loss, "layout.xaxis.title.text") == "length of the recorded path"
    lengths = np.append(np.float32(0), np.cumsum(runs.chord.values[:-1]))
    np.testing.assert_allclose(drawn(loss, "data[0].x"), lengths, rtol=1e-6)
    seen.page.locator("#clock").get_by_role("button", name="flow time").click()
    assert drawn(loss, "layout.xaxis.title.text") == "flow time"
    assert (
        np.array(drawn(loss, "data[0].y"), np.float32).tolist() == runs.loss.values.tolist()
    )


def test_a_legend_hides_lines_with_their_bands(base: Path, opened: Open) -> None:
    """A click on one case."""
    seen = opened(base / "grid.html")
    loss = figure(seen, "Loss that is descended")
    assert drawn(loss, "data.length") == 6  # two cases, each a line and both edges
    loss.locator(".legendtoggle").first.click()
    seen.page.wait_for_function(
        "id => document.getElementById(id).querySelector('.plot').data[0].visible === "
        "'legendonly'", arg=loss.get_attribute("id"),
    )  # fmt: skip
    visible = drawn(loss, "data.map(t => t.visible)")
    assert visible == ["legendonly"] * 3 + [True] * 3
    loss.get_by_role("button", name="log").click()
    seen.page.locator("#theme").click()
    assert drawn(loss, "data.map(t => t.visible)") == visible  # as it was left


def test_zoom_by_dragging(base: Path, opened: Open) -> None:
    """And back by a double click."""
    seen = opened(base / "one.html")
    loss = figure(seen, "Loss that is descended")
    loss.scroll_into_view_if_needed()
    whole = drawn(loss, "_fullLayout.xaxis.range")
    box = loss.locator(".nsewdrag").bounding_box()
    middle = box["y"] + box["height"] / 2
    seen.page.mouse.move(box["x"] + 0.25 * box["width"], middle)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + 0.75 * box["width"], middle, steps=5)
    seen.page.mouse.up()
    low, high = drawn(loss, "_fullLayout.xaxis.range")
    span = whole[1] - whole[0]
    assert (low - whole[0]) / span == pytest.approx(0.25, abs=0.02)
    assert (high - whole[0]) / span == pytest.approx(0.75, abs=0.02)
    seen.page.mouse.dblclick(box["x"] + 0.5 * box["width"], middle)
    seen.page.wait_for_timeout(400)
    assert drawn(loss, "_fullLayout.xaxis.range") == pytest.approx(whole)


def test_hover_shows_a_value(base: Path, opened: Open) -> None:
    """With the name of its line."""
    seen = opened(base / "one.html")
    loss = figure(seen, "Loss that is descended")
    loss.scroll_into_view_if_needed()
    point = loss.locator(".points path").first.bounding_box()
    seen.page.mouse.move(point["x"] + 3, point["y"] + 3)
    label = loss.locator(".hovertext").first
    label.wait_for()
    assert "htf" in label.text_content()


def test_a_case_is_chosen(base: Path, opened: Open) -> None:
    """Figures with many lines show its numbers."""
    seen = opened(base / "grid.html")
    spectrum = figure(seen, "Singular values of a matricization")
    runs = htf.load_results(base / "grid").singular_value[:, :, :, 0, 0]
    for place, label in enumerate(("init std 0.2", "init std 0.4")):
        seen.page.locator("#case").select_option(label)
        middle = runs.isel(init_std=place).median("seed").values
        assert (
            np.array(drawn(spectrum, "data[2].y"), np.float32).tolist() == middle.tolist()
        )


def test_a_folder_is_hidden(base: Path, opened: Open) -> None:
    """Of two that are laid over each other."""
    seen = opened(base / "one-two.html")
    spectrum = figure(seen, "Singular values of a matricization")
    count = drawn(spectrum, "data.length")
    assert drawn(spectrum, "data.map(t => t.line.dash)") == ["solid"] * 9 + ["dash"] * 9
    button = seen.page.locator("#folders button").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert drawn(spectrum, "data.length") == count // 2
    assert set(drawn(spectrum, "data.map(t => t.line.dash)")) == {"dash"}
    button.click()
    assert drawn(spectrum, "data.length") == count


def test_a_node_shows_its_norms_and_spectrum(base: Path, opened: Open) -> None:
    """By a click and by the keyboard; the scale can be changed."""
    seen = opened(base / "one.html")
    last = htf.load_results(base / "one").isel(seed=0, step=-1)
    seen.page.locator("#tree [data-node='4']").click()
    place = seen.page.locator("#node")
    assert place.locator("h3").text_content() == "Node 4, modes {0, 1}"
    plots = place.locator(".plot")
    assert plots.count() == 2
    found = [plots.nth(i).evaluate("plot => plot.data[0].y") for i in (0, 1)]
    norms = -np.sort(-last.local_component_norm[0].values)
    spectrum = last.singular_value[0].values
    assert np.array(found[0], np.float32).tolist() == norms.tolist()
    assert (
        np.array(found[1], np.float32).tolist() == spectrum[np.isfinite(spectrum)].tolist()
    )
    place.get_by_role("button", name="log").click()
    assert plots.first.evaluate("plot => plot._fullLayout.yaxis.type") == "log"
    rows = downloaded(seen, place.get_by_role("button", name="CSV of node 4"))
    assert rows[0] == ["node", "quantity", "index", "value", "value 10 %", "value 90 %"]
    assert {row[0] for row in rows[1:]} == {"4"}
    seen.page.locator("#tree [data-node='0']").focus()
    seen.page.keyboard.press("Enter")
    assert place.locator("h3").text_content() == "Leaf 0, mode 0"
    assert "Nothing is recorded" in place.text_content()


def test_a_tree_is_chosen(base: Path, opened: Open) -> None:
    """Where there are several."""
    seen = opened(base / "flows.html")
    seen.page.locator("#tree-case").select_option(label="seed 0, std 0.1")
    seen.page.locator("#tree [data-node='4']").click()
    values = seen.page.locator("#node .plot").evaluate("plot => plot.data[0].y")
    assert values == [2.0, 1.6]


def test_tables_sort(base: Path, opened: Open) -> None:
    """By numbers, up and down; their CSV files have all digits in the order shown."""
    seen = opened(base / "grid.html")
    heading = seen.page.locator("h3", has_text="Runs and their last values")
    card = seen.page.locator("section.table", has=heading)
    button = card.get_by_role("button", name="last loss", exact=True)
    losses = htf.load_results(base / "grid").loss.isel(step=-1).values.ravel()
    for order, sort in (("ascending", np.sort(losses)), ("descending", -np.sort(-losses))):
        button.click()
        assert button.locator("xpath=..").get_attribute("aria-sort") == order
        rows = downloaded(seen, card.locator("a.csv"))
        at = rows[0].index("last loss")
        found = np.array([row[at] for row in rows[1:]], np.float32)
        assert found.tolist() == sort.tolist()


def test_a_figure_as_a_file(base: Path, opened: Open) -> None:
    """What is shown: steps or path length, of one folder or two."""
    seen = opened(base / "grid.html")
    loss = figure(seen, "Loss that is descended")
    link = loss.get_by_role("button", name="CSV of")
    heads, *rows = downloaded(seen, link)
    assert heads == ["folder", "case", "step", "loss", "loss 10 %", "loss 90 %"]
    runs = htf.load_results(base / "grid").loss
    found = np.array([row[3] for row in rows], np.float32).reshape(2, -1)
    np.testing.assert_array_equal(found, runs.median("seed").values)
    assert [row[1] for row in rows[:: len(rows) // 2]] == ["init std 0.2", "init std 0.4"]
    seen.page.locator("#clock").get_by_role("button", name="path length").click()
    heads, *_ = downloaded(seen, link)
    assert heads[2] == "path length"
    both = opened(base / "one-two.html")
    _, *rows = downloaded(
        both, figure(both, "Loss that is descended").get_by_role("button", name="CSV of")
    )
    assert {row[0] for row in rows} == {"one", "two"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(scheme: str, base: Path, opened: Open) -> None:
    """As the system has it, and the other by a click; figures change too."""
    seen = opened(base / "one.html", scheme=scheme)
    loss = figure(seen, "Loss that is descended")

    def look() -> tuple[str, str, str]:
        back = seen.page.evaluate("getComputedStyle(document.documentElement).background")
        return back, drawn(loss, "layout.font.color"), drawn(loss, "data[0].line.color")

    before = look()
    button = seen.page.locator("#theme")
    assert button.text_content() == {"light": "Dark", "dark": "Light"}[scheme]
    button.click()
    after = look()
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert button.text_content() == {"light": "Light", "dark": "Dark"}[scheme]
    assert faint(seen) == []
    button.click()
    assert look() == before


def test_more_quantities_are_drawn_when_they_are_opened(base: Path, opened: Open) -> None:
    """And not before."""
    seen = opened(base / "one.html")
    gradient = figure(seen, "Norm of the gradient")
    assert drawn(gradient, "data") is None
    seen.page.locator("#more summary").click()
    seen.page.wait_for_function(
        "id => document.getElementById(id).querySelector('.plot').data",
        arg=gradient.get_attribute("id"),
    )
    assert drawn(gradient, "data.length") == 1


def test_nothing_offers_to_send_a_figure_away(base: Path, opened: Open) -> None:
    """Plotly's toolbar has such a button unless it is told not to."""
    seen = opened(base / "one.html", 390)
    titles = seen.page.locator(".modebar-btn").evaluate_all(
        "all => all.map(b => b.dataset.title ?? b.getAttribute('aria-label') ?? '')"
    )
    assert titles
    assert not [t for t in titles if re.search("cloud|send|plotly|share", t.lower())]
    seen.page.locator(".modebar-btn").first.click()  # saves a picture, from the page alone
    seen.page.wait_for_timeout(300)
    seen.assert_clean((base / "one.html").as_uri())


def test_links_lead_to_sections(base: Path, opened: Open) -> None:
    """Of this page."""
    seen = opened(base / "one.html")
    links = seen.page.locator("nav a")
    names = links.all_text_contents()
    assert names == ["Curves", "Mode tree", "Tables", "Settings, versions and digests"]
    links.last.click()
    assert seen.page.evaluate("location.hash") == "#settings"
    assert seen.page.locator("#settings h2").is_visible()
