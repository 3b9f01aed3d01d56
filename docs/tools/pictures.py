"""Pictures on a light and on a dark page: a pair of PNG files with the same pixels."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH = 1400  # pixels: shown 700 wide on a screen with two pixels per point
DARK_PAGE = (0x1E, 0x21, 0x29)  # the background of mkdocs-material's slate scheme
INK = 0.93  # lightness of what is black on white
# Above 1, so that light lines, which are weak on white, keep their contrast on a dark page.
BEND = 2.2
COLORS = 256

# Ottosson 2020: linear sRGB to cone responses, and their cube roots to OKLab.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def linear(rgb: np.ndarray) -> np.ndarray:
    """Linear light of sRGB in [0, 1]."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _to_lab(rgb: np.ndarray) -> np.ndarray:
    """OKLab of sRGB in [0, 1], along the last axis."""
    return np.cbrt(linear(rgb) @ TO_CONES.T) @ TO_LAB.T


def _to_rgb(lab: np.ndarray) -> np.ndarray:
    """sRGB of OKLab; values outside of [0, 1] are colours that no screen shows."""
    light = (lab @ np.linalg.inv(TO_LAB).T) ** 3 @ np.linalg.inv(TO_CONES).T
    bent = 1.055 * np.maximum(light, 0.0) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, 12.92 * light, bent)


def darken(pixels: np.ndarray) -> np.ndarray:
    """Colours on white as they are drawn on a dark page, uint8 (..., 3).

    Lightness in OKLab is mirrored, hue is kept: black becomes light ink, white the page,
    and the dark end of viridis, which stands out on white, its light end. Chroma shrinks
    until the colour can be shown.
    """
    lab = _to_lab(pixels.astype(np.float64) / 255)
    page = _to_lab(np.array(DARK_PAGE) / 255)
    light = np.clip(lab[..., :1], 0.0, 1.0) ** BEND
    mirrored = INK + (page[0] - INK) * light
    # Grey takes on the page's faint blue as it comes near it, so that white is the page.
    tinted = lab[..., 1:] + light * page[1:]
    best = np.concatenate([mirrored, tinted * 0.0], axis=-1)
    for chroma in np.linspace(0.1, 1.0, 10):
        tried = np.concatenate([mirrored, tinted * chroma], axis=-1)
        shown = _to_rgb(tried)
        fits = np.all((shown > -0.005) & (shown < 1.005), axis=-1, keepdims=True)
        best = np.where(fits, tried, best)
    return np.rint(255 * np.clip(_to_rgb(best), 0.0, 1.0)).astype(np.uint8)


def write_pair(image: Image.Image, stem: Path, colors: int = COLORS) -> None:
    """Writes STEM-light.png and STEM-dark.png with a palette of `colors`.

    The palette is darkened, not every pixel: both files have the same pixels.
    """
    few = image.convert("RGB").quantize(colors, dither=Image.Dither.NONE)
    palette = np.array(few.getpalette("RGB"), np.uint8).reshape(-1, 3)
    # Quantizing leaves white a shade off, which would show as a box on the page.
    palette[np.all(palette >= 252, axis=1)] = 255
    for name, shades in (("light", palette), ("dark", darken(palette))):
        few.putpalette(shades.tobytes(), "RGB")
        few.save(stem.with_name(f"{stem.name}-{name}.png"), optimize=True)


def describe(figure: Any) -> str:
    """What the axes of a figure show, for readers who do not see it."""
    texts = []
    for ax in figure.axes:
        words = " over ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
        texts.append(": ".join(filter(None, (ax.get_title(), words))))
    plain = "; ".join(filter(None, texts)) or "a drawing without axes"
    return " ".join(plain.translate(str.maketrans("", "", "$\\{}[]")).split())


def write_figure(figure: Any, stem: Path) -> None:
    """Renders a figure at the width of a page and writes both of its files."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=WIDTH / figure.get_figwidth(), facecolor="white")
    write_pair(Image.open(buffer), stem)
