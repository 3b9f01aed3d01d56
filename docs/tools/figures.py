"""Hook of mkdocs: figures of pages on a light and on a dark page.

A page names `figures/NAME.png`; its twin for the dark scheme is made of it by
`pictures.darken`, and the style sheet hides one of the two. Photographs and images that
networks see (`samples_*`) stay as they are.
"""

import re
from pathlib import Path
from typing import Any

from PIL import Image

from docs.tools.pictures import write_pair

FIGURES = Path(__file__).parents[1] / "figures"
PICTURE = re.compile(r"!\[([^\]]*)\]\(((?:\.\./)*figures/)((?!samples_)\w+)\.png\)")


def on_pre_build(**kwargs: Any) -> None:
    """Called before files are collected: writes twins that are missing or old."""
    del kwargs
    for figure in sorted(FIGURES.glob("*.png")):
        twin = FIGURES / "schemes" / f"{figure.stem}-dark.png"
        if figure.stem.startswith("samples_"):
            continue
        if not twin.exists() or twin.stat().st_mtime < figure.stat().st_mtime:
            twin.parent.mkdir(exist_ok=True)
            with Image.open(figure) as image:
                write_pair(image.convert("RGB"), FIGURES / "schemes" / figure.stem)


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Called with the Markdown of every page: both twins where it shows a figure."""
    del kwargs
    return PICTURE.sub(
        lambda found: "".join(
            f"![{found[1]}]({found[2]}schemes/{found[3]}-{scheme}.png#only-{scheme})"
            for scheme in ("light", "dark")
        ),
        markdown,
    )
