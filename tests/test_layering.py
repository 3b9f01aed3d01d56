"""Which part may know which, read from the import statements."""

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

import htfjax as htf

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "htfjax"

# A module may import only modules that come before it. A folder stands where its first
# file does; a new module gets a place here before anything imports it.
ORDER = [
    "_integers",
    "_numerics",
    "_callables",
    "_pytrees",
    "mode_tree",
    "tree_builders",
    "_checks",
    "_files",
    "_archives",
    "_digests",
    "_locks",
    "_signals",
    "runs",
    "factors",
    "grouping",
    "node_values",
    "initialization",
    "balance",
    "storage",
    "contraction.timing",
    "contraction.rates",
    "contraction.plan",
    "contraction.rows",
    "contraction.end_tensor",
    "contraction.evaluate",
    "contraction.measured",
    "contraction.stacks",
    "contraction.grouped",
    "contraction.entries",
    "contraction.observed",
    "contraction.sensing",
    "contraction.gram",
    "contraction.singular",
    "contraction.sweeps",
    "contraction.core_values",
    "contraction.sweep_costs",
    "contraction.inner",
    "contraction",
    "observations",
    "penalty",
    "completion",
    "losses",
    "population",
    "scaled",
    "local_components",
    "rank_bounds",
    "matricization",
    "tree_spectra",
    "theory.vectors",
    "theory.directions",
    "theory.growth",
    "theory.truncation",
    "theory.ranks",
    "theory.conserved",
    "theory.scaling",
    "theory.closed_forms",
    "theory.sharing",
    "theory",
    "group_rms",
    "trajectory",
    "rises",
    "descent",
    "chunks",
    "flow.records",
    "flow.clocks",
    "flow.checks",
    "flow.stabilized",
    "flow.stepping",
    "flow.integrate",
    "flow",
    "checkpoints",
    "ensemble.grid",
    "ensemble.lanes",
    "ensemble.completion",
    "ensemble.batch",
    "ensemble.stopping",
    "ensemble.exits",
    "ensemble.folder",
    "ensemble.journal",
    "ensemble.checkpoint",
    "ensemble.store",
    "ensemble.view",
    "ensemble.memory",
    "ensemble.programs",
    "ensemble.block",
    "ensemble.progress",
    "ensemble.run",
    "ensemble",
    "results",
    "drawing",
    "locality",
]
HEAVY = (
    "diffrax",
    "flax",
    "h5netcdf",
    "h5py",
    "matplotlib",
    "orbax",
    "xarray",
    "zarr",
)
# The only modules that may import these, at their top or inside a function.
HOMES = {
    "diffrax": ("flow",),
    "flax": ("locality",),
    "h5netcdf": ("results",),
    "h5py": ("results",),
    "matplotlib": ("drawing",),
    "orbax": ("checkpoints",),
    "xarray": ("results", "ensemble"),
    "zarr": ("ensemble",),
}
APART = ("sims", "benchmarks", "tests")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def place(name: str) -> int:
    """Position in ORDER; everything in `locality` shares one."""
    if name.startswith("locality"):
        return ORDER.index("locality")
    return ORDER.index(name)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


LIBRARY = [path for path in files("htfjax") if module_name(path)]
SCRIPTS = [path for folder in ("sims", "benchmarks") for path in files(folder)]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imported(path: Path) -> set[str]:
    """Dotted names of everything a file imports, `from a import b` as "a.b"."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def library_modules(path: Path) -> set[str]:
    """Library modules that a file imports, as they are named in ORDER."""
    found = set()
    for name in imported(path):
        first, *rest = name.split(".")
        if first == "htfjax" and rest:
            found.add(next(m for m in spellings(rest) if m in KNOWN))
    return found


def spellings(parts: list[str]) -> list[str]:
    """The longest module name first: a.b.c, a.b, a, and the part itself if unknown."""
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)] + ["unknown"]


KNOWN = {module_name(path) for path in LIBRARY} | {"unknown"}


@functools.cache
def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Dotted name and node of every call by name, docstrings not included."""
    return [
        (ast.unparse(node.func), node)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
    ]


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_module_has_a_place():
    names = {module_name(path) for path in LIBRARY}
    unplaced = {name for name in names if not name.startswith("locality")} - set(ORDER)
    assert not unplaced, f"give these a place in ORDER: {sorted(unplaced)}"


def test_no_place_stands_for_a_module_that_is_gone():
    gone = set(ORDER) - {module_name(path) for path in LIBRARY} - {"locality"}
    assert not gone


@pytest.mark.parametrize("path", LIBRARY, ids=module_name)
def test_imports_go_one_way(path):
    here = module_name(path)
    later = {
        name
        for name in library_modules(path)
        if place(name) >= place(here) and not (here == name == "locality")
        if not (here.startswith("locality") and name.startswith("locality"))
    }
    assert not later, f"{here} imports {sorted(later)}, which do not come before it"


@pytest.mark.parametrize("path", LIBRARY, ids=module_name)
def test_modules_do_not_import_the_package_root(path):
    assert "htfjax" not in imported(path)


@pytest.mark.parametrize("path", files("htfjax"), ids=where)
def test_the_library_does_not_know_its_users(path):
    first = {name.split(".")[0] for name in imported(path)}
    assert not first & set(APART)


@pytest.mark.parametrize("path", LIBRARY, ids=module_name)
def test_heavy_packages_have_one_home(path):
    for name in imported(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or module_name(path).split(".")[0] in homes, name


def test_mode_trees_need_no_arrays():
    for name in ("_integers", "mode_tree", "tree_builders"):
        outside = {n.split(".")[0] for n in imported(PACKAGE / f"{name}.py")} - {"htfjax"}
        assert outside <= set(sys.stdlib_module_names), name


@pytest.mark.parametrize("path", SCRIPTS, ids=where)
def test_scripts_import_the_library_as_one_name(path):
    """Only `import htfjax as htf`; the locality side is a public module of its own."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "htfjax":
                    assert (alias.name, alias.asname) in {
                        ("htfjax", "htf"),
                        ("htfjax.locality", "locality"),
                    }, f"line {node.lineno}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.module.split(".")[0] != "htfjax" or (
                node.module == "htfjax" and {a.name for a in node.names} == {"locality"}
            ), f"line {node.lineno}"


@pytest.mark.parametrize("path", SCRIPTS, ids=where)
def test_scripts_use_public_names(path):
    public = {*htf.__all__, "__version__", "locality", "theory", "ensemble", "runs"}
    used = {
        node.attr
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "htf"
    }
    assert used <= public, sorted(used - public)


@pytest.mark.parametrize("path", SCRIPTS, ids=where)
def test_scripts_know_neither_each_other_nor_the_tests(path):
    own = path.relative_to(ROOT).parts[0]
    first = {name.split(".")[0] for name in imported(path)}
    assert not first & (set(APART) - {own})


@pytest.mark.parametrize("path", files("htfjax"), ids=where)
def test_the_library_never_prints(path):
    names = {name for name, _ in calls(path)}
    assert not names & {"print", "pprint.pprint", "sys.stdout.write", "jax.debug.print"}


@pytest.mark.parametrize("path", files("htfjax"), ids=where)
def test_the_library_never_configures_jax(path):
    touched = {
        ast.unparse(node)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in {"jax.config", "jax.enable_x64", "os.environ"}
    }
    assert not touched
    assert not {name for name in imported(path) if name.startswith("jax.config")}


@pytest.mark.parametrize("path", files("htfjax"), ids=where)
def test_the_library_holds_no_seeds(path):
    for name, call in calls(path):
        if name.endswith((".key", ".PRNGKey", ".default_rng", ".seed")):
            constants = [a for a in call.args if isinstance(a, ast.Constant)]
            assert not any(isinstance(a.value, int) for a in constants), call.lineno
        assert not name.startswith(("np.random.", "numpy.random.", "random."))


@pytest.mark.parametrize("path", files("htfjax"), ids=where)
def test_the_library_is_not_pickling(path):
    first = {name.split(".")[0] for name in imported(path)}
    assert not first & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for name, call in calls(path):
        if name == "np.load":
            options = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert options.get("allow_pickle") == "False", call.lineno


def fresh_python(code: str) -> list[str]:
    """Lines that a new interpreter prints, started away from the repository's folder."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


STATE = "(c.jax_enable_x64, c.jax_numpy_dtype_promotion, c.jax_default_matmul_precision)"


def test_importing_loads_nothing_heavy_and_changes_no_setting():
    lines = fresh_python(
        f"""
import sys, warnings
import jax
c = jax.config
before = {STATE}, c.jax_numpy_rank_promotion, c.jax_debug_nans, c.jax_platforms
filters = list(warnings.filters)
import htfjax
print(sorted({set(HEAVY)!r} & set(sys.modules)))
print(before == ({STATE}, c.jax_numpy_rank_promotion, c.jax_debug_nans, c.jax_platforms))
print(c.jax_enable_x64)
print(jax._src.xla_bridge.backends_are_initialized())
"""
    )
    assert lines == ["[]", "True", "False", "False"]


def test_heavy_names_load_at_first_use():
    lines = fresh_python(
        """
import sys
import htfjax
for name in ("load_results", "load_state", "draw_tree"):
    assert callable(getattr(htfjax, name))
print(sorted({"xarray", "orbax", "matplotlib", "flax"} & set(sys.modules)))
"""
    )
    assert lines == ["['matplotlib', 'orbax', 'xarray']"]
