"""Gallery: examples as executed pages with pictures, and as notebooks.

Each `examples/NAME.py` is a percent script. It runs in a kernel of its own in an empty
folder and becomes `docs/gallery/NAME.md` with its pictures, `NAME.ipynb`, `NAME.py`, and
a card in the snippets `.tutorials.md`, `.questions.md` and `.landing.md` beside them.
Pages are kept in `.cache/gallery` by what they depend on: script, data, sources of htfjax
and of this tool, versions of libraries.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import MarkdownExporter
from PIL import Image
from rich.console import Console

from docs.tools import pictures

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = ROOT / "docs" / "gallery"
CACHE = ROOT / ".cache" / "gallery"
# Cards stand in this order; `tests/docs` sees to it that none is missing.
TUTORIALS = (
    "local_components", "own_tensor", "two_trees", "own_network", "ten_digits", "sweep",
)  # fmt: skip
QUESTIONS = (
    "descent_and_flow", "growth_law", "scale_of_start", "rank_over_training", "penalty",
    "two_storages", "exchange", "large_order", "noise_and_ranks", "polish", "sensing",
    "gradient_distance",
)  # fmt: skip
LIMIT = 60.0  # seconds that an example may take on two cores
KEPT = "index.md"  # written by hand
THUMBNAIL = (480, 300)
THUMBNAIL_COLORS = 64
LIBRARIES = ("jax", "jaxlib", "numpy", "scipy", "matplotlib", "optax", "flax", "equinox")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# Code with the title of its cell, output marked as such, pictures as the kernel gave them.
TEMPLATE = """\
{%- extends 'markdown/index.md.j2' -%}
{%- block input -%}
``` { .python{% if cell.metadata.title %} title="{{ cell.metadata.title }}"{% endif %} }
{{ cell.source }}
```
{% endblock input -%}
{%- block stream %}
``` { .text .output }
{{ output.text | trim }}
```
{% endblock stream -%}
{%- block data_text scoped %}
``` { .text .output }
{{ output.data['text/plain'] | trim }}
```
{% endblock data_text -%}
{%- block data_markdown scoped %}
{{ output.data['text/markdown'] }}
{% endblock data_markdown -%}
"""


class ExampleFailed(Exception):
    """An example that raised, with its name and its cell."""


class Kernel(AsyncKernelManager):
    """A kernel of this interpreter, whatever kernels the machine knows."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="htfjax", language="python")


class Page(NamedTuple):
    """What the cache holds of an example."""

    name: str
    folder: Path
    title: str
    seconds: float
    cpu: float  # seconds of all its processes and threads


def main(arguments: Sequence[str] | None = None) -> int:
    """Brings all pages up to date; 1 if an example failed."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.tools.gallery",
        description="Runs examples that changed and writes docs/gallery. "
        "All together take some 6 minutes on two cores, unchanged ones a second.",
    )
    parser.add_argument("names", nargs="*", help="of examples, by default all")
    parser.add_argument("--force", action="store_true", help="run unchanged ones too")
    parser.add_argument(
        "--timeout", type=float, default=600.0, help="seconds for a cell (%(default)s)"
    )
    chosen = parser.parse_args(arguments)
    known = [path.stem for path in sorted(EXAMPLES.glob("*.py"))]
    unknown = set(chosen.names) - set(known)
    if unknown:
        parser.error(f"no example {', '.join(sorted(unknown))}; there are {known}")
    failures = build(
        chosen.names or known, known, Console(), force=chosen.force, timeout=chosen.timeout
    )
    return 1 if failures else 0


def build(
    names: Sequence[str], known: Sequence[str], console: Console, *, force: bool,
    timeout: float,
) -> list[str]:  # fmt: skip
    """Runs `names`, publishes every page of `known` that is in the cache; the failures."""
    failures, shared = [], shared_digest()
    for number, name in enumerate(names, 1):
        place = f"[{number}/{len(names)}] {name}"
        script = EXAMPLES / f"{name}.py"
        page = None if force else cached(name, digest(script, shared))
        if page is not None:
            console.print(
                f"{place}: unchanged", soft_wrap=True, markup=False, highlight=False
            )
            continue
        with console.status(f"{name}: running"):
            try:
                page = execute(script, digest(script, shared), timeout=timeout)
            except ExampleFailed as error:
                failures.append(name)
                console.print(
                    f"{place}: failed\n{error}",
                    soft_wrap=True,
                    markup=False,
                    highlight=False,
                )
                continue
        late = f", above {LIMIT:.0f} s" if page.seconds > LIMIT else ""
        console.print(
            f"{place}: {page.seconds:.1f} s ({page.cpu:.1f} s of CPU){late}",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    pages = [cached(name, digest(EXAMPLES / f"{name}.py", shared)) for name in known]
    publish([page for page in pages if page is not None and page.name not in failures])
    if failures:
        console.print(
            f"failed: {', '.join(failures)}", soft_wrap=True, markup=False, highlight=False
        )
    return failures


def shared_digest() -> bytes:
    """Of what every page depends on."""
    known = hashlib.sha256(platform.python_version().encode())
    for name in LIBRARIES:
        known.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    sources = [p for p in (ROOT / "htfjax").rglob("*") if p.suffix in (".py", ".npz")]
    for path in sorted([*sources, *Path(__file__).parent.glob("*.py")]):
        known.update(f"{path.relative_to(ROOT)}\n".encode())
        known.update(path.read_bytes())
    return known.digest()


def data_of(script: Path) -> list[Path]:
    """Files beside a script that its text names."""
    text = script.read_text("utf-8")
    others = [path for path in sorted(script.parent.iterdir()) if path.suffix != ".py"]
    return [path for path in others if path.is_file() and path.name in text]


def digest(script: Path, shared: bytes) -> str:
    """Of a script, the data that it names, and what all depend on."""
    known = hashlib.sha256(shared)
    for path in (script, *data_of(script)):
        known.update(f"{path.name}\n".encode())
        known.update(path.read_bytes())
    return known.hexdigest()[:16]


def cached(name: str, key: str) -> Page | None:
    """The page of an example with this digest, if it is there."""
    folder = CACHE / f"{name}-{key}"
    try:
        record = json.loads((folder / "record.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Page(name, folder, record["title"], record["seconds"], record["cpu"])


def execute(script: Path, key: str, *, timeout: float) -> Page:
    """Runs an example and puts its page into the cache.

    The folder of the page appears by one rename, when everything in it is written.

    Raises:
      ExampleFailed: a cell raised, the kernel died, or there is no picture.
    """
    name = script.stem
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        folder, scratch = Path(temporary, "page"), Path(temporary, "scratch")
        folder.mkdir()
        (scratch / "examples").mkdir(parents=True)
        for path in data_of(script):
            shutil.copy(path, scratch / "examples")
        book = read(script)
        nbformat.write(book, folder / f"{name}.ipynb")
        shutil.copy(script, folder)
        title = title_of(book)
        began, used = time.perf_counter(), child_seconds()
        run_cells(book, name, folder, scratch, timeout)
        seconds, used = time.perf_counter() - began, child_seconds() - used
        shown = sorted(folder.glob(f"{name}-*-light.png"))
        if not shown:
            raise ExampleFailed(f"{name}: it draws no picture")
        write_thumbnails(shown[-1], folder / f"{name}-thumbnail")
        (folder / f"{name}.md").write_text(render(book, name), "utf-8")
        record = {"title": title, "seconds": round(seconds, 1), "cpu": round(used, 1)}
        (folder / "record.json").write_text(json.dumps(record), "utf-8")
        for old in CACHE.glob(f"{name}-{'?' * len(key)}"):
            shutil.rmtree(old)
        folder.rename(CACHE / f"{name}-{key}")
    page = cached(name, key)
    assert page is not None
    return page


def child_seconds() -> float:
    """CPU time of processes that this one started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def read(script: Path) -> Any:
    """The notebook of a script, for the kernel that any Jupyter has."""
    book = jupytext.read(script)
    book.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python",
    }  # fmt: skip
    for cell in book.cells:  # how the script spells text is of no use in a notebook
        cell.metadata.pop("cell_marker", None)
    return book


def title_of(book: Any) -> str:
    """The first heading."""
    return re.search(r"^# (.+)$", book.cells[0].source, re.MULTILINE)[1]  # type: ignore


def run_cells(book: Any, name: str, folder: Path, scratch: Path, timeout: float) -> None:
    """Executes the cells in place, by this interpreter and with this clone's htfjax."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(CACHE.parent / "jax"),
        "MPLBACKEND": "agg",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    first = f"import docs.tools.kernel as _k; _k.install({str(folder)!r}, {name!r})"
    book.cells.insert(0, nbformat.v4.new_code_cell(first))
    client = NotebookClient(
        book, kernel_manager_class=Kernel, timeout=timeout,
        resources={"metadata": {"path": str(scratch)}},
    )  # fmt: skip
    log = scratch.parent / "kernel.log"
    with open(log, "wb") as noise:
        try:
            client.execute(env=environment, stdout=noise, stderr=noise)
        except CellExecutionError:
            pass  # named below, with its cell
        except (CellTimeoutError, DeadKernelError) as error:
            tail = log.read_text("utf-8", "replace")[-2000:]
            raise ExampleFailed(f"{name}: {error}\n{tail}") from None
    del book.cells[0]
    for number, cell in enumerate(book.cells, 1):
        cell["outputs"] = clean(cell.get("outputs", []))
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                label = cell.metadata.get("title", cell.source.partition("\n")[0])
                trace = ESCAPES.sub("", "\n".join(output["traceback"]))
                raise ExampleFailed(f"{name}, cell {number} ({label}):\n{trace}")


def clean(outputs: Sequence[Any]) -> list[Any]:
    """Outputs without what was written to stderr, colours, and bars that were redrawn.

    Prints that follow each other, which a kernel may send one by one, become one output.
    """
    kept: list[Any] = []
    for output in outputs:
        if output["output_type"] != "stream":
            kept.append(output)
        elif output["name"] == "stdout":
            lines = ESCAPES.sub("", output["text"]).split("\n")
            output["text"] = "\n".join(line.rpartition("\r")[2] for line in lines)
            if kept and kept[-1]["output_type"] == "stream":
                kept[-1]["text"] += output["text"]
            else:
                kept.append(output)
    return kept


def render(book: Any, name: str) -> str:
    """The page: its heading, what can be downloaded, and the cells."""
    exporter = MarkdownExporter(raw_template=TEMPLATE)
    text, _ = exporter.from_notebook_node(book)
    heading, _, rest = text.partition("\n")
    version = importlib.metadata.version("jax")
    line = (
        f"[Script]({name}.py){{ download={name}.py }} · "
        f"[notebook]({name}.ipynb){{ download={name}.ipynb }} · "
        f"run with jax {version} on a CPU\n{{ .gallery-line }}"
    )
    return "\n\n".join((heading, line, re.sub(r"\n{3,}", "\n\n", rest.strip()))) + "\n"


def write_thumbnails(picture: Path, stem: Path) -> None:
    """A small picture for both schemes, the whole of it on one size of card."""
    with Image.open(picture) as full:
        small = full.convert("RGB")
    small.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    card = Image.new("RGB", THUMBNAIL, "white")
    across, down = ((a - b) // 2 for a, b in zip(THUMBNAIL, small.size, strict=True))
    card.paste(small, (across, down))
    pictures.write_pair(card, stem, THUMBNAIL_COLORS)


def publish(pages: Sequence[Page]) -> None:
    """Copies pages to the site's sources and removes those of other examples."""
    PAGES.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Path | None] = {KEPT: None}
    for page in pages:
        for path in page.folder.iterdir():
            if path.name != "record.json":
                wanted[path.name] = path
    for path in PAGES.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, path in wanted.items():
        # A copy that is the same is left alone, so that `mkdocs serve` stays still.
        if path is not None and not same(path, PAGES / name):
            shutil.copyfile(path, PAGES / name)
    by_name = {page.name: page for page in pages}
    for title, names in (("tutorials", TUTORIALS), ("questions", QUESTIONS)):
        shown = [by_name[name] for name in names if name in by_name]
        write_cards(PAGES / f".{title}.md", shown, "")
    shown = [by_name[name] for name in (*TUTORIALS, *QUESTIONS) if name in by_name]
    write_cards(PAGES / ".landing.md", shown, "gallery/")


def same(one: Path, other: Path) -> bool:
    """Whether both files are there with the same bytes."""
    return other.exists() and one.read_bytes() == other.read_bytes()


def write_cards(path: Path, pages: Sequence[Page], prefix: str) -> None:
    """A grid of thumbnails with their questions, as a snippet of Markdown.

    Links are written for a page in the folder from which `prefix` leads to the gallery.
    """
    lines = ['<div class="grid cards gallery" markdown>', ""]
    for page in pages:
        target = f"{prefix}{page.name}.md"
        images = "".join(
            f"![]({prefix}{page.name}-thumbnail-{scheme}.png#only-{scheme})"
            f"{{ width={THUMBNAIL[0]} height={THUMBNAIL[1]} loading=lazy }}"
            for scheme in ("light", "dark")
        )
        lines += [f"-   [{images}<br>{page.title}]({target})", ""]
    path.write_text("\n".join([*lines, "</div>", ""]), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
