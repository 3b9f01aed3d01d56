"""Words on a figure of runs that are too short to show the effect."""

from typing import Any

FOUND = 0.5  # a relative error below it: more of the target is found than missed


def say_too_short(fig: Any, because: str) -> None:
    """Puts "too short to show the effect" and the reason above a figure's own title."""
    own = fig.get_suptitle()
    said = f"too short to show the effect: {because}"
    fig.suptitle(f"{said}\n{own}" if own else said, fontsize=10)
