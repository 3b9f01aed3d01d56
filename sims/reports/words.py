"""Words of a report: titles of quantities, names of lines, labels of axes."""

import xarray as xr

# Names that experiments gave in their parts, and those that descents give to the same.
SAME = {
    "errors": "relative_error",
    "error": "relative_error",
    "grads": "grad_norm",
    "losses": "loss",
    "sigma": "local_component_norm",
    "spectra": "singular_value",
    "value": "singular_value",
    "values": "singular_value",
}
TITLES = {
    "balanced": "growth by the balanced law",
    "exact": "growth by the exact law",
    "grad_norm": "norm of the gradient",
    "heldout_error": "relative error on cells held out",
    "local_component_norm": "norm of each local component",
    "loss": "loss that is descended",
    "lower": "lower bound of the growth",
    "rate": "measured growth of each component",
    "relative_error": "distance from the target over its norm",
    "side": "sign of each root component",
    "singular_value": "singular values of a matricization, descending",
    "size": "absolute growth by the exact law",
    "training_error": "relative error on training cells",
    "upper": "upper bound of the growth",
}
# Shown first, in this order; then what is not listed, then the rest.
FIRST = (
    "singular_value", "local_component_norm", "rate", "exact", "balanced", "loss",
    "train_mse", "test_mse", "relative_error", "effective_rank", "test_accuracy",
    "train_accuracy",
)  # fmt: skip
LAST = ("grad_norm", "unbalancedness", "step_length", "chord", "duration", "size", "side")
OF_EPOCH = "_of_epoch"  # of studies of networks: the course of what they also end with
MODES = {"step": "steps", "path": "path length", "time": "flow time"}
CLOCKS = {
    "step": "steps of descent",
    "record": "record",
    "epoch": "epoch",
    "stage": "stage of the search",
    "path": "length of the recorded path",
    "time": "flow time",
}


def canonical(name: str) -> str:
    """The name of a quantity that all commands share."""
    return SAME.get(name, name)


def title_of(name: str, variable: xr.DataArray) -> str:
    """A quantity in words, with its units where it has any.

    Example: "norm of the gradient".
    """
    plain = canonical(name)
    words = variable.attrs.get("long_name") if plain == name else None
    text = str(words or TITLES.get(plain, spaced(plain.removesuffix(OF_EPOCH))))
    units = str(variable.attrs.get("units", "1"))
    return text if units == "1" else f"{text} ({units})"


def spaced(name: str) -> str:
    """A name of code as words."""
    return name.replace("_", " ")


def opened(text: str) -> str:
    """A text that begins with a capital letter, as a title does."""
    return text[:1].upper() + text[1:]


def line_name(dim: str, label: object, ranked: bool) -> str:
    """The name of one line.

    Args:
      ranked: whether lines are ordered by where they end, in every run for itself.
    """
    return f"k = {label}" if ranked or dim == "index" else f"{spaced(dim)} {label}"


def panel_name(dim: str, label: object) -> str:
    """The place of a figure.

    Example: "modes {0,1}".
    """
    return f"{spaced(dim)} {{{label}}}" if dim in ("node", "modes") else f"{dim} {label}"


def case_name(labels: dict[str, object]) -> str:
    """The name of a place in a grid.

    Example: "htf, init scale 0.5".
    """
    words = [
        str(value) if isinstance(value, str) and not value.startswith("(") else
        f"{spaced(name)} {spelled(value)}"
        for name, value in labels.items()
    ]  # fmt: skip
    return ", ".join(words)


def spelled(value: object) -> str:
    """A number with six digits at most, anything else as text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    Example: "2 runs".
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
