"""Annotations of public functions, checked on the calls of the numeric snapshot.

`python -m tests.guards.typed` calls the core's public functions under tracing, on a plain
and a grouped tree in turn; `--all` calls all on both, eagerly too, and networks.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import beartype
import jax
import jaxtyping

import htfjax as htf
from tests.guards import network_calls, numeric, tensor_calls, theory_calls
from tests.guards.cases import Case, given
from tests.guards.registry import CALLS, Call

MODULES = (tensor_calls, theory_calls, network_calls)  # which register the calls


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that compares arguments and results with its annotations."""
    return jaxtyping.jaxtyped(typechecker=beartype.beartype)(function)


def public_modules() -> list[ModuleType]:
    """`htfjax` and its public modules."""
    return [htf, *filter(inspect.ismodule, (getattr(htf, name) for name in htf.__all__))]


def public_functions() -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """Every public function, or method of a public class, with its owner and its name."""
    for module in public_modules():
        for name in getattr(module, "__all__", None) or list(vars(module)):
            value = getattr(module, name)
            if not getattr(value, "__module__", "").startswith("htfjax"):
                continue
            if inspect.isfunction(value):
                yield module, name, value
            for method, inner in vars(value).items() if inspect.isclass(value) else ():
                named = method == "__call__" or not method.startswith("_")
                if named and inspect.isfunction(inner):
                    yield value, method, inner


def check_public_functions() -> None:
    """Puts checked functions in place of the public ones."""
    for owner, name, function in list(public_functions()):
        setattr(owner, name, checked(function))


def cases(call: Call, *, every: bool) -> list[Case]:
    """The first plain case and the first grouped one that a call is made on, or either."""
    chosen = numeric.chosen_cases(call)
    firsts = {case.form: case for case in reversed(chosen) if case.dtype == "float64"}
    found = list(firsts.values())
    return found if every else [found[len(call.name) % len(found)]]


def draw() -> None:
    """Functions that the snapshot leaves out, since keys decide what they give."""
    key, tree = jax.random.key(0), htf.perfect(4)
    htf.gaussian_factors(key, tree, 3, (2, 4), 0.1, dtype="float32")
    htf.balanced_factors(key, tree, (3, 4, 3, 2), 2, jax.numpy.ones(()))
    htf.random_indices(key, (3, 4), 5)
    htf.random_vectors(key, (3, 4), 5)
    htf.random_matrices(key, 3, 5)
    htf.crossings(range(3), [[1.0, 5.0], [4.0, 5.0], [16.0, 5.0]], [8.0, 1.0])


def problems(call: Call, *, eager: bool) -> list[str]:
    """The violations of annotations on the cases of one call."""
    lines = []
    for case in cases(call, every=eager) if not call.alone else [None]:
        name = f"{call.name} on {case.name if case else 'its own'}"
        try:
            if case is None:
                call.compute("float64")
                continue
            inputs = given(case)
            if call.traced:
                jax.eval_shape(lambda f, i=inputs: call.compute(i.on(f)), inputs.factors)
            if eager or not call.traced:
                call.compute(inputs)
        except jaxtyping.TypeCheckError as error:
            lines.append(f"{name}: {error}")
    return lines


def main() -> int:
    """Prints how many calls were made and what they violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--all", action="store_true", help="networks and what cannot be traced too"
    )
    every = parser.parse_args().all
    jax.config.update("jax_enable_x64", True)
    check_public_functions()
    core = [c for c in CALLS.values() if not c.name.startswith("locality.")]
    chosen = list(CALLS.values()) if every else [c for c in core if c.traced and not c.slow]
    draw()
    lines = [line for call in chosen for line in problems(call, eager=every)]
    counts = f"{len(chosen)} calls, {len(lines)} violations"
    sys.stdout.write("\n".join([counts, *lines]) + "\n")
    return min(len(lines), 1)


if __name__ == "__main__":
    sys.exit(main())
