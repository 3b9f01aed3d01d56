"""Parameters of Pathfinder images: the paper's and the LRA presets."""

import dataclasses
import math
from typing import Any

from htfjax import _checks
from htfjax.locality import inputs as _inputs

LRA_SIZES = (32, 64, 128, 256)


@dataclasses.dataclass(frozen=True)
class PathfinderSettings:
    """Parameters of one kind of Pathfinder image, in pixels of the drawn image.

    Two paths of dashes begin `seed_distance` apart; shorter ones distract. Discs mark the
    beginning of one long path and the end of one: of the same for label 1, of the other
    for label 0. Angles are in units of the turn at which the weight
    cos^2(continuity * turn) vanishes, so no turn exceeds 90 / continuity degrees.

    Raises:
      TypeError, ValueError: a parameter that cannot be, named, with its range.

    Source: Linsley, Kim, Veerabadran, Windolf, Serre, "Learning long-range spatial
    dependencies with horizontal gated recurrent units" (2018).

    Example:
      >>> from htfjax import locality
      >>> locality.PathfinderSettings(contour_length=7).num_distractors
      13
    """

    contour_length: int = 9  # dashes of a long path
    size: int = 300  # side of the drawn image
    output_size: int = 150  # side of the image that is kept; divides `size`
    padding: int = 22  # nothing is drawn this close to an edge
    seed_distance: int = 27  # between the beginnings of both long paths
    paddle_length: int = 5  # of a dash
    thickness: float = 2.0  # of a dash; a multiple of 1 / antialias
    margins: tuple[int, ...] = (3,)  # free space around a dash; one is drawn per image
    continuity: float = 1.8
    marker_radius: float = 3.0
    antialias: int = 2  # sub-pixels per pixel
    distractor_length: int = 0  # dashes; 0 stands for contour_length // 3, at least 1
    num_distractors: int = -1  # -1 stands for ceil(90 / contour_length)
    path_contrast: float = 1.0  # of the dashes of long paths; marks have 1
    distractor_contrast: float = 1.0
    segment_retries: int = 2
    distractor_retries: int = 4
    max_attempts: int = 1000  # pairs of paths drawn for one image before giving up
    match_distance: bool = False  # the dots' distance says nothing about the label

    def __post_init__(self) -> None:
        """Fills in the defaults that depend on others, and checks."""
        whole = {"contour_length": 2, "size": 8, "output_size": 1, "padding": 1,
                 "seed_distance": 1, "paddle_length": 1, "antialias": 1,
                 "distractor_length": 0, "num_distractors": -1, "segment_retries": 0,
                 "distractor_retries": 0, "max_attempts": 1}  # fmt: skip
        for name, least in whole.items():
            self._set(name, _checks.at_least(name, getattr(self, name), least))
        for name in ("thickness", "continuity", "marker_radius", "path_contrast",
                     "distractor_contrast"):  # fmt: skip
            value = getattr(self, name)
            self._set(name, _inputs.static_number(name, value, least=0, strict=True))
        self._set("margins", _inputs.integers("margins", self.margins, 1))
        self._set("match_distance", _checks.flag("match_distance", self.match_distance))
        # Margins and places of marks are stored in one and two bytes.
        if max(self.margins) > 255:
            raise ValueError(f"`margins={self.margins}` must be at most 255.")
        if self.size > 32_767:
            raise ValueError(f"`size={self.size}` must be at most 32767.")
        if self.size % self.output_size:
            raise ValueError(
                f"`output_size={self.output_size}` must divide `size={self.size}`."
            )
        wide = self.thickness * self.antialias
        if wide != round(wide):
            raise ValueError(
                f"`thickness={self.thickness}` must be a multiple of 1 / antialias = "
                f"{1 / self.antialias:g}."
            )
        if self.continuity < 1:
            raise ValueError(
                f"`continuity={self.continuity}` must be at least 1, where turns of up to "
                "90 degrees are allowed."
            )
        if 2 * self.padding >= self.size:
            raise ValueError(
                f"`padding={self.padding}` leaves nothing of `size={self.size}`; it must "
                f"be below {self.size // 2}."
            )
        if self.distractor_length == 0:
            self._set("distractor_length", max(1, self.contour_length // 3))
        if self.num_distractors == -1:
            self._set("num_distractors", math.ceil(90 / self.contour_length - 1e-9))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def paper_pathfinder(contour_length: int, **changes: Any) -> PathfinderSettings:
    """The settings of the locality experiments: 300 x 300 pixels, kept at 150 x 150.

    30 / (length / 3) distractors of a third of the length.

    Args:
      contour_length: dashes of a long path; 3, 5, 7 and 9 in the paper.
      **changes: other parameters of `PathfinderSettings`.

    Raises:
      TypeError, ValueError: as `PathfinderSettings`.

    Source: arXiv:2201.11729, Pathfinder experiments.

    Example:
      >>> from htfjax import locality
      >>> [locality.paper_pathfinder(n).num_distractors for n in (3, 5, 7, 9)]
      [30, 18, 13, 10]
    """
    return _with(changes, {"contour_length": contour_length})


def lra_pathfinder(size: int, **changes: Any) -> PathfinderSettings:
    """Settings like those of the Long Range Arena's Pathfinder: 32, 64, 128 or 256 pixels.

    The same kind of images, not the same images: results are compared within one set.

    Args:
      size: side of the image.
      **changes: other parameters of `PathfinderSettings`.

    Raises:
      ValueError: another size. TypeError, ValueError: as `PathfinderSettings`.

    Source: Tay et al., "Long Range Arena" (2020), the generator settings in the comments
    of its Pathfinder data builder.

    Example:
      >>> from htfjax import locality
      >>> locality.lra_pathfinder(64).contour_length
      14
    """
    size = _checks.at_least("size", size, 1)
    if size not in LRA_SIZES:
        raise ValueError(f"`size={size}` is none of {list(LRA_SIZES)}.")
    own: dict[str, Any] = {
        32: {"padding": 1, "seed_distance": 7, "paddle_length": 2, "thickness": 0.5,
             "margins": (1,), "continuity": 1.0, "marker_radius": 1.5,
             "num_distractors": 5, "path_contrast": 1.5, "distractor_contrast": 2.0},
        64: {"padding": 1, "seed_distance": 12, "thickness": 1.0, "margins": (1,),
             "marker_radius": 2.5, "num_distractors": 5, "path_contrast": 0.8,
             "distractor_contrast": 0.8, "max_attempts": 50_000},
        128: {"padding": 1, "seed_distance": 20, "thickness": 1.5, "margins": (2, 3),
              "marker_radius": 3.0, "num_distractors": 8, "path_contrast": 0.9,
              "distractor_contrast": 0.9, "max_attempts": 50_000},
        256: {"thickness": 2.0, "margins": (3,), "marker_radius": 5.0,
              "num_distractors": 7},
    }[size]  # fmt: skip
    common: dict[str, Any] = {"contour_length": 14, "size": size, "output_size": size,
              "distractor_length": 4}  # fmt: skip
    return _with(changes, common | own)


def _with(changes: dict[str, Any], preset: dict[str, Any]) -> PathfinderSettings:
    """A preset with other parameters."""
    known = [field.name for field in dataclasses.fields(PathfinderSettings)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise TypeError(f"`{unknown[0]}` is no parameter; there are {', '.join(known)}.")
    return PathfinderSettings(**(preset | changes))
