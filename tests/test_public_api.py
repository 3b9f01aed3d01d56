"""The public surface: what it names, what each name says, which Pythons it promises."""

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import htfjax as htf

ROOT = Path(__file__).parent.parent
MODULES = (
    "exchange",
    "formats",
    "locality",
    "losses",
    "plot",
    "problems",
    "runs",
    "theory",
)

# Names and leading parameters that scripts outside this repository already call. A star
# begins what is given by keyword.
CONTRACT = {
    "ModeTree": None,
    "perfect": "order arity",
    "flat": "order",
    "caterpillar": "order",
    "interleaved": "order",
    "square_patches": "side patch",
    "pooled": "order window pattern",
    "Factors": None,
    "gaussian_factors": "key tree mode_dims widths std "
    "* mean=0.0 root='trained' dtype=None",
    "balanced_factors": "key tree mode_dims widths scale *",
    "collapse_chains": "factors",
    "save_factors": "path factors",
    "load_factors": "path",
    "group": "factors",
    "ungroup": "factors",
    "end_tensor": "factors",
    "entries": "factors indices",
    "sense": "factors vectors",
    "local_component_norms": "factors",
    "unbalancedness": "factors kind='components'",
    "growth_rates": "params loss to_factors",
    "singular_values": "factors node_or_modes method='auto'",
    "spectrum": "factors node_or_modes * accuracy=None method='auto'",
    "effective_rank": "s floor",
    "numerical_rank": "s rtol",
    "entanglement_entropy": "s",
    "completion_loss": "tree mode_dims indices targets * penalty='l2' threshold=1.0",
    "sensing_loss": "vectors targets * penalty='l2' threshold=1.0",
    "matrix_sensing_loss": "matrices targets * penalty='l2' threshold=1.0",
    "scale_by_group_rms": "decay eps",
    "group_rmsprop": "learning_rate decay=0.99 eps=1e-06",
    "start_descent": "params optimizer",
    "DescentState": None,
    "continue_descent": "state loss optimizer "
    "* num_steps record_every observe=None key=None",
    "Trajectory": None,
    "descend": "params loss optimizer * num_steps record_every observe=None key=None",
    "gradient_flow": "params loss * times rtol atol observe=None",
    "load_results": "path group=None",
}
# Promised by the contract and not here yet.
LATER: set[str] = set()
# Beyond the contract.
EXTRAS = {
    "Carrying",
    "Completion",
    "as_tree",
    "check_state",
    "complete",
    "FlowReport",
    "GroupedFactors",
    "NodeValues",
    "Observed",
    "Magnitude",
    "Plan",
    "Rates",
    "Selector",
    "alternating_least_squares",
    "contraction_plan",
    "loss_plan",
    "observation_loss",
    "observed",
    "platform_rates",
    "RiseTimes",
    "ScaledGradient",
    "Spectrum",
    "StepProgress",
    "Stop",
    "component_contributions",
    "crossings",
    "descend_in_chunks",
    "distance",
    "find_stop",
    "hierarchical_rank",
    "identity_factors",
    "incrementality",
    "inner_product",
    "join",
    "levenberg_marquardt",
    "load_state",
    "magnitude",
    "matricize",
    "minibatch_loss",
    "mode_dims",
    "nuclear_norm",
    "penalize",
    "plateau_wait",
    "population_loss",
    "rank_bound",
    "random_indices",
    "random_matrices",
    "random_vectors",
    "rank_within",
    "residuals",
    "rise_times",
    "save_results",
    "save_state",
    "scaled_loss",
    "scaled_value_and_grad",
    "sharded_loss",
    "spectra",
    "squared_norm",
    "unobserved_indices",
    "weight_singular_values",
    "weight_vector_norms",
    "widths",
}
# Functions of arrays that raise nothing of their own: any array or pytree is fine.
SAFE = {
    "effective_rank",
    "entanglement_entropy",
    "numerical_rank",
    "rank_within",
    "mode_dims",
    "widths",
    "start_descent",
}
NAMES = sorted({*htf.__all__} - {*MODULES})
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(htf, name))]
CLASSES = [name for name in NAMES if inspect.isclass(getattr(htf, name))]


def docstring(name: str) -> str:
    return inspect.getdoc(getattr(htf, name)) or ""


def sections(text: str) -> set[str]:
    """Headings of a docstring, each name of "Args, raises:" by itself, lower case."""
    heads = re.findall(r"^([A-Z][A-Za-z, ]*):(?:\s|$)", text, re.MULTILINE)
    return {word.lower() for head in heads for word in re.split(r",\s*|\s+and\s+", head)}


def test_all_lists_each_name_once():
    assert len(htf.__all__) == len(set(htf.__all__))


def test_all_is_the_contract_so_far_and_the_extras():
    assert set(htf.__all__) == (set(CONTRACT) - LATER) | EXTRAS | set(MODULES)


def test_lists_of_names_do_not_overlap():
    assert set(CONTRACT) >= LATER
    assert not set(CONTRACT) & EXTRAS
    assert set(FUNCTIONS) >= SAFE


@pytest.mark.parametrize("name", NAMES)
def test_every_name_exists(name):
    assert getattr(htf, name) is not None


def test_every_name_is_a_function_or_a_class():
    assert set(FUNCTIONS) | set(CLASSES) == set(NAMES)


def test_dir_shows_the_public_names():
    assert set(htf.__all__) <= set(dir(htf))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="htfjax attribute modle_tree"):
        htf.modle_tree  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_every_module_has_a_docstring():
    for info in pkgutil.walk_packages(htf.__path__, "htfjax."):
        if not info.name.startswith("htfjax.locality"):
            assert importlib.import_module(info.name).__doc__, info.name


# Leading parameters of the contract, and numbers that everybody gives by position.
BY_POSITION = {
    "effective_rank": "floor",
    "entanglement_entropy": "floor",
    "group_rmsprop": "decay eps",
    "growth_rates": "to_factors",
    "load_results": "group",
    "numerical_rank": "rtol",
    "perfect": "arity",
    "pooled": "pattern",
    "scale_by_group_rms": "decay eps",
    "sharded_loss": "mesh",
    "singular_values": "method",
    "square_patches": "patch",
    "unbalancedness": "kind",
    "runs.completion_lane": "data",
    "runs.lane_mesh": "devices",
    "locality.as_network": "variables",
    "locality.pathfinder_examples": "rows",
    "locality.residual_net": "widths",
    "locality.resnet": "depth",
    "locality.strided_net": "widths strides",
    "locality.warn_if_blind": "threshold",
    "runs.atomic_write": "name",
}
BUILDERS = ("runs.completion_lane",)  # called as build(setting, key)
ROOMS = {"": htf} | {f"{name}.": getattr(htf, name) for name in MODULES}


def functions():
    for prefix, room in ROOMS.items():
        for name in room.__all__:
            if inspect.isfunction(getattr(room, name)):
                yield prefix + name, inspect.signature(getattr(room, name)).parameters


def test_options_are_given_by_keyword():
    loose = {}
    for name, parameters in functions():
        options = [
            p.name
            for p in parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty
        ]
        if options:
            loose[name] = " ".join(options)
    assert loose == BY_POSITION


def test_a_key_comes_first_or_by_keyword():
    for name, parameters in functions():
        if name not in BUILDERS and "key" in parameters and next(iter(parameters)) != "key":
            assert parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY, name


def test_a_method_is_auto_by_default():
    for name, parameters in functions():
        if "method" in parameters:
            assert parameters["method"].default == "auto", name


@pytest.mark.parametrize("name", NAMES)
def test_every_docstring_has_an_example(name):
    assert re.search(r"^Example:\n  >>> ", docstring(name), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_every_docstring_begins_with_one_line(name):
    first = docstring(name).splitlines()[0]
    assert 10 < len(first) <= 89


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_say_what_they_raise(name):
    if getattr(htf, name).__module__ == "htfjax.trees.builders":
        return  # no arrays; `pooled` and `perfect` say what they raise
    assert name in SAFE or sections(docstring(name)) & {"raises", "errors"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_and_results_are_annotated(name):
    signature = inspect.signature(getattr(htf, name))
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter.name


@pytest.mark.parametrize("name", [n for n, text in CONTRACT.items() if text])
def test_signatures_begin_as_the_contract_says(name):
    if name in LATER:
        pytest.skip(f"{name} is later work")
    parameters = list(inspect.signature(getattr(htf, name)).parameters.values())
    positional, _, keyword = (CONTRACT[name] or "").partition("*")
    leading = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    wanted = positional.split()
    assert [spell(p, w) for p, w in zip(leading, wanted, strict=False)] == wanted
    assert all(p.default is not p.empty for p in leading[len(wanted) :])
    given = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    for word in keyword.split():
        assert spell(given.pop(word.partition("=")[0]), word) == word
    assert all(p.default is not p.empty for p in given.values())


def spell(parameter: inspect.Parameter, like: str) -> str:
    """A parameter as the contract writes it: with its default only if that is named."""
    return f"{parameter.name}={parameter.default!r}" if "=" in like else parameter.name


def test_fields_of_the_contract():
    names = {"order", "root", "interior", "children", "parent", "modes", "height", "nested"}
    assert all(hasattr(htf.flat(2), name) for name in names)
    assert list(inspect.signature(htf.Factors).parameters) == ["weights", "tree", "fixed"]
    assert htf.DescentState._fields == ("params", "opt_state", "step")
    fields = inspect.signature(htf.Trajectory).parameters
    assert {"steps", "losses", "observed"} <= set(fields)


def test_typed_marker_exists():
    assert (ROOT / "htfjax" / "py.typed").is_file()


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def oldest_python() -> str:
    bound = re.fullmatch(r">=(3\.\d+)", project()["project"]["requires-python"])
    assert bound
    return bound[1]


def classified_pythons() -> set[str]:
    pattern = r"Programming Language :: Python :: (3\.\d+)"
    lines = project()["project"]["classifiers"]
    return {found[1] for found in map(lambda x: re.fullmatch(pattern, x), lines) if found}


def read_if_there(path: str) -> str:
    file = ROOT / path
    if not file.is_file() or not file.read_text(encoding="utf-8").strip():
        pytest.skip(f"{path} does not exist yet")
    return file.read_text(encoding="utf-8")


def version_key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_classifiers_begin_at_the_oldest_python():
    assert min(classified_pythons(), key=version_key) == oldest_python()


def test_ruff_targets_the_oldest_python():
    assert project()["tool"]["ruff"]["target-version"] == "py" + oldest_python().replace(
        ".", ""
    )


def test_this_python_is_promised():
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert version_key(here) >= version_key(oldest_python())


def test_workflow_runs_the_promised_pythons():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    if not workflows:
        pytest.skip(".github/workflows does not exist yet")
    text = "\n".join(path.read_text(encoding="utf-8") for path in workflows)
    run = set(re.findall(r"python(?:-version)?:\s*\"(3\.\d+)\"", text))
    assert run >= classified_pythons()  # and newer ones, before they are promised


def test_readme_names_the_oldest_python():
    text = read_if_there("README.md")
    lines = [line for line in text.splitlines() if "python" in line.lower()]
    named = set(re.findall(r"(?<![\d.])3\.\d\d(?![\d.])", "\n".join(lines)))
    assert oldest_python() in named
    assert named <= classified_pythons()


def test_the_version_stands_in_one_place():
    """The build reads it from the library; a wheel's name has it (`test_package.py`)."""
    assert project()["project"]["dynamic"] == ["version"]
    assert project()["tool"]["hatch"]["version"] == {"path": "htfjax/__init__.py"}
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", htf.__version__)


@pytest.mark.parametrize("package", ["jax", "jaxlib"])
def test_the_release_that_computes_wrong_numbers_is_excluded(package):
    (line,) = (
        d for d in project()["project"]["dependencies"] if re.match(rf"{package}\W", d)
    )
    assert "!=0.10.2" in line


def test_the_release_that_computes_wrong_numbers_is_refused():
    code = (
        "import jaxlib.version; jaxlib.version.__version__ = '0.10.2'\n"
        "try:\n import htfjax\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "jaxlib 0.10.2" in done.stdout
    assert "pip install" in done.stdout
