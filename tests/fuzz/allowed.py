"""Raw errors that are allowed: those of Python or jax that come before any check can."""

__all__ = ["ALLOWED_RAW"]

# (call, parameter, label of the wrong value): why.
ALLOWED_RAW: dict[tuple[str, str, str], str] = {}
