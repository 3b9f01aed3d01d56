"""Which part may know which, read from the import statements."""

import ast
import functools
import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import htfjax as htf

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "htfjax"

# Folders in the order in which data flows: one imports only those before it.
ROOMS = (
    "trees",
    "factors",
    "contraction",
    "instruments",
    "formats",
    "exchange",
    "losses",
    "data",
    "theory",
    "motion",
    "completion",
    "problems",
    "runs",
    "locality",
    "plot",
)
# Folders that need no arrays; everything private may know them.
STATIC = ("trees",)
MOST_ROOMS = 16
HEAVY = (
    "diffrax",
    "flax",
    "h5netcdf",
    "h5py",
    "matplotlib",
    "orbax",
    "pandas",
    "xarray",
    "zarr",
)
# The only modules that may import these, at their top or inside a function.
HOMES = {
    "diffrax": ("motion",),
    "flax": ("locality",),
    "h5netcdf": ("runs.netcdf",),
    "h5py": ("runs.netcdf",),
    "matplotlib": ("plot",),
    "orbax": ("runs.checkpoints",),
    "pandas": ("data.observed",),  # for type checkers only
    "xarray": ("runs", "completion.result", "data.labelled", "data.observed", "plot"),
    "zarr": ("runs",),
}
APART = ("sims", "benchmarks", "tests")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room(name: str) -> str:
    """The folder that a module is in; that of a private module is ""."""
    first = name.split(".")[0]
    return "" if first.startswith("_") else first


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


# Stands for the folder `sims`, which is `htfjax.sims` in a wheel.
STAND_IN = PACKAGE / "sims.py"
LIBRARY = [path for path in files("htfjax") if module_name(path) and path != STAND_IN]
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
            names |= {f"{source(path, node)}.{alias.name}" for alias in node.names}
    return names


def source(path: Path, node: ast.ImportFrom) -> str:
    """The module imported from; only `sims`, which may be renamed, imports relatively."""
    if not node.level:
        return str(node.module)
    assert path in files("sims"), f"{path}:{node.lineno}: a relative import"
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def library_modules(path: Path) -> set[str]:
    """Library modules that a file imports, without the package's name."""
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


def test_the_rooms_are_the_folders():
    assert {room(module_name(path)) for path in LIBRARY} - {""} == set(ROOMS)
    assert len(ROOMS) <= MOST_ROOMS


@pytest.mark.parametrize("path", LIBRARY, ids=module_name)
def test_imports_go_one_way(path):
    here = room(module_name(path))
    before = STATIC if not here else ROOMS[: ROOMS.index(here) + 1]
    later = {name for name in library_modules(path) if room(name) not in ("", *before)}
    assert not later, f"{module_name(path)} imports {sorted(later)}, of later rooms"


def test_no_module_imports_itself_in_a_circle():
    imports = {module_name(path): library_modules(path) for path in LIBRARY}
    # A folder's own file lists what its modules offer.
    imports = {name: found - {name} for name, found in imports.items()}
    list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError


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
        here = module_name(path)
        assert homes is None or any(f"{here}.".startswith(f"{h}.") for h in homes), name


def test_mode_trees_need_no_arrays():
    for path in (PACKAGE / "_integers.py", *files("htfjax/trees")):
        outside = {n.split(".")[0] for n in imported(path)} - {"htfjax"}
        assert outside <= set(sys.stdlib_module_names), path


# Replaces parts of the library by plain ones, to show what is lost without them; compiles
# the program of a grid's chunk alone.
INSIDE = {
    ROOT / "benchmarks" / name for name in ("barrier_forms.py", "ahead_of_time/programs.py")
}


@pytest.mark.parametrize("path", [p for p in SCRIPTS if p not in INSIDE], ids=where)
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
    public = {*htf.__all__, "__version__"}
    used = {
        node.attr
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "htf"
    }
    assert used <= public, sorted(used - public)


def test_commands_that_work_without_the_extras_import_none():
    """So that they can say what is missing."""
    core = {"htfjax", "jax"} | sys.stdlib_module_names
    shared = ("common/__init__", "common/missing", "common/names")
    for name in ("__init__", "__main__", "info", "cite", *shared):
        first = {n.split(".")[0] for n in imported(ROOT / "sims" / f"{name}.py")}
        assert first - {"sims"} <= core, name


@pytest.mark.parametrize("path", SCRIPTS, ids=where)
def test_scripts_know_neither_each_other_nor_the_tests(path):
    own = path.relative_to(ROOT).parts[0]
    first = {name.split(".")[0] for name in imported(path)}
    assert not first & (set(APART) - {own})


@pytest.mark.parametrize("path", files("sims"), ids=where)
def test_the_simulations_do_not_know_their_package(path):
    """The same files work under another name, and none of their modules is private."""
    assert path.stem.startswith("__") or not path.stem.startswith("_")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] != "sims" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert str(node.module).split(".")[0] != "sims", f"line {node.lineno}"


QUESTIONS = {"What", "How", "Which", "Where", "When", "Why"}


@pytest.mark.parametrize("path", [*files("htfjax"), *files("sims")], ids=where)
def test_module_docstrings_open_with_a_noun(path):
    """A command, in `sims` itself, opens with its question."""
    text = ast.get_docstring(tree_of(path)) or ""
    first = text.partition("\n")[0]
    if path.parent.name == "sims" and not path.stem.startswith("_"):
        assert first.endswith("?") or path.stem == "plot", first
    else:
        assert first.split(" ")[0] not in QUESTIONS, first


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
for name in ("load_results", "load_state"):
    assert callable(getattr(htfjax, name))
assert callable(htfjax.plot.tree)
print(sorted({"xarray", "orbax", "matplotlib", "flax"} & set(sys.modules)))
"""
    )
    assert lines == ["['matplotlib', 'orbax', 'xarray']"]


@pytest.mark.parametrize("path", LIBRARY, ids=module_name)
def test_the_two_kinds_of_factors_meet_where_they_are_opened(path):
    """All else takes a layout and stacks, or `AnyFactors`: the union stands once."""
    if room(module_name(path)) == "factors":
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            assert "GroupedFactors" not in ast.unparse(node.args[1]), f"line {node.lineno}"
    names = {"Factors", "GroupedFactors"}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            assert not names <= set(ast.unparse(node).split(" | ")), f"line {node.lineno}"


MOST_ANY = 400


def test_few_types_are_any():
    """It stands where it is the truth, for what Python's types cannot say."""
    paths = [p for kind in ("*.py", "*.pyi") for p in (ROOT / "htfjax").rglob(kind)]
    texts = [path.read_text("utf-8") for path in paths]
    assert 0 < sum(len(re.findall(r"\bAny\b", text)) for text in texts) <= MOST_ANY


MOST_LINES = 40


@pytest.mark.parametrize("path", files("htfjax/runs"), ids=where)
def test_functions_of_the_engine_are_short(path):
    """What a function does, without its signature and docstring, fits on a screen."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :] or node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert length <= MOST_LINES, f"{node.name} has {length} lines"
