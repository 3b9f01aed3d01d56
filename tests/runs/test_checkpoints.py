"""Checkpoints of states: what comes back, what is refused, what is never removed."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from htfjax import runs
from tests.marks import slow_unless


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def assert_equal_trees(a, b) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            assert x.dtype == y.dtype
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def noisy_state():
    optimizer = optax.noisy_sgd(1e-2, key=jax.random.key(3))
    with jax.numpy_dtype_promotion("standard"):
        return htf.start_descent({"w": jnp.ones(3)}, optimizer)


def dropout_state():
    from flax import nnx

    return nnx.state(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))


STATES = {
    "key": lambda: {"w": jnp.ones(3), "key": jax.random.key(0)},
    "keys": lambda: jax.random.split(jax.random.key(0, impl="rbg"), 3),
    "no_keys": lambda: jax.random.split(jax.random.key(0), 1)[:0],
    "noisy_sgd": noisy_state,
    "dropout": dropout_state,
    "python": lambda: {"a": 3, "b": 0.1, "c": True, "d": 1 + 2j, "e": -(2**63)},
    "numpy": lambda: {
        "x": np.arange(6.0).reshape(2, 3),
        "y": np.float32(0.1),
        "z": np.array([True, False]),
        "u": np.arange(3, dtype=np.uint8),
    },
    "special": lambda: np.array([np.nan, np.inf, -0.0, 5e-324]),
    "halves": lambda: (jnp.ones(3, jnp.bfloat16), jnp.ones(2, jnp.float16)),
    "complex": lambda: jnp.array([1 + 1j]),
    "empty": lambda: {"x": jnp.zeros((0, 3)), "y": ()},
    "nothing": lambda: (),
    "slash": lambda: {"a/b": jnp.ones(1), "a": {"b": jnp.zeros(1)}},
    "bare": lambda: jnp.float32(3),
}


@pytest.mark.parametrize("name", STATES)
def test_states_round_trip(tmp_path, name):
    state = STATES[name]()
    htf.save_state(tmp_path / "state", state)
    like = jax.tree.map(lambda x: x, state)
    assert_equal_trees(htf.load_state(tmp_path / "state", like=like), state)


def test_shapes_alone_are_enough_to_load(tmp_path):
    state = {"w": jnp.arange(3.0), "key": jax.random.key(4)}
    htf.save_state(tmp_path / "state", state)
    like = jax.eval_shape(lambda: state)
    assert_equal_trees(htf.load_state(tmp_path / "state", like=like), state)


def test_foreign_byte_order_is_written_as_its_values(tmp_path):
    htf.save_state(tmp_path / "s", {"x": np.arange(3, dtype=">f8")})
    loaded = htf.load_state(tmp_path / "s", like={"x": np.zeros(3)})
    np.testing.assert_array_equal(loaded["x"], np.arange(3.0))


@pytest.mark.parametrize(
    ("stored", "wanted", "words"),
    [
        (np.array([1e300]), np.zeros(1, np.float32), "float64 there, float32 here"),
        (np.array([2**40 + 1]), np.zeros(1, np.int32), "int64 there, int32 here"),
        (np.array([0.4]), np.zeros(1, int), "float64 there, int64 here"),
        (0.4, 0, "float64 there, int64 here"),
        (True, 1, "bool there, int64 here"),
    ],
)
def test_other_dtypes_are_named(tmp_path, stored, wanted, words):
    htf.save_state(tmp_path / "s", {"w": stored})
    with pytest.raises(ValueError, match=f"w is {words}.*cast=True"):
        htf.load_state(tmp_path / "s", like={"w": wanted})


def test_without_64_bits_a_checkpoint_of_them_is_refused(tmp_path):
    htf.save_state(tmp_path / "s", jnp.array([1e300]))
    with jax.enable_x64(False), pytest.raises(ValueError, match="float64 there, float32"):
        htf.load_state(tmp_path / "s", like=jnp.array([0.0]))


@pytest.mark.parametrize(
    ("stored", "wanted", "found"),
    [
        (np.array([0.1, np.inf, np.nan]), np.float32, np.array([0.1, np.inf, np.nan])),
        (np.array([3.0, -2.0]), np.int32, np.array([3, -2])),
        (np.array([2**24]), np.float32, np.array([2**24])),
        (np.array([1 + 0j]), np.float64, np.array([1.0])),
        (np.array([True]), np.float32, np.array([1.0])),
    ],
)
def test_what_a_cast_keeps(tmp_path, stored, wanted, found):
    htf.save_state(tmp_path / "s", {"w": stored})
    like = {"w": np.zeros(stored.shape, wanted)}
    loaded = htf.load_state(tmp_path / "s", like=like, cast=True)["w"]
    assert loaded.dtype == wanted
    np.testing.assert_array_equal(loaded, found.astype(wanted))


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (np.array([2**24 + 1]), np.float32),
        (np.array([2**63 - 1]), np.float64),
        (np.array([-1]), np.uint64),
        (np.array([2**63], np.uint64), np.int64),
        (np.array([np.nan]), np.int64),
        (np.array([1j]), np.float64),
        (np.array([2]), np.bool_),
    ],
)
def test_what_a_cast_refuses(tmp_path, stored, wanted):
    htf.save_state(tmp_path / "s", {"w": stored})
    with pytest.raises(ValueError, match=r"w holds .*cannot hold"):
        htf.load_state(tmp_path / "s", {"w": np.zeros(stored.shape, wanted)}, cast=True)


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        ("text", "only arrays, typed keys"),
        (np.ma.masked_equal([1.0, -9.0], -9.0), "lose its mask"),
        (np.array([object()]), "dtype object"),
        (np.longdouble(1), "cannot be written"),
        (jax.ShapeDtypeStruct((3,), np.float32), "has no values"),
        (2**70, "64 bits"),
    ],
)
def test_leaves_that_cannot_be_written_are_named(tmp_path, leaf, words):
    with pytest.raises((TypeError, ValueError), match=f"`state`: x.*{words}"):
        htf.save_state(tmp_path / "s", {"x": leaf})
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    thesis = tmp_path / "thesis"
    (thesis / "chapters").mkdir(parents=True)
    (thesis / "chapters" / "one.tex").write_text("years of work")
    before = files_of(tmp_path)
    with pytest.raises(ValueError, match=r"thesis holds chapters, chapters/one\.tex"):
        htf.save_state(thesis, jnp.ones(3))
    assert files_of(tmp_path) == before


def test_a_large_folder_is_not_searched_to_its_end(tmp_path, monkeypatch):
    """A home folder has millions of files; the first few are enough to refuse it."""
    looked = []

    def files(folder, pattern):
        for i in range(10**9):
            looked.append(i)
            yield folder / f"{i}.txt"

    monkeypatch.setattr(type(tmp_path), "rglob", files)
    with pytest.raises(ValueError, match=r"holds 0\.txt, 1\.txt, .*, \.\.\., which no"):
        htf.save_state(tmp_path, jnp.ones(3))
    assert len(looked) < 20


@pytest.mark.parametrize("place", ["", ".", "..", "/", "~", "./", "sub/.."])
def test_the_current_folder_and_those_above_it_are_left_alone(tmp_path, monkeypatch, place):
    here = tmp_path / "home" / "work"
    (here / "sub").mkdir(parents=True)
    (here / "notes").write_text("mine")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ValueError, match=r"`path=?"):
        htf.save_state(place, jnp.ones(3))
    assert (here / "notes").read_text() == "mine"
    assert sorted(p.name for p in here.iterdir()) == ["notes", "sub"]
    (here / "notes").unlink()
    with pytest.raises(ValueError, match=r"`path=?"):
        htf.save_state(place, jnp.ones(3))  # an empty current folder stays, too


@pytest.mark.parametrize("name", ["target", ".target.new", ".target.old"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder", "pipe"])
def test_what_stands_at_a_place_that_would_be_replaced_is_left_alone(tmp_path, name, kind):
    place, other = tmp_path / name, tmp_path / "other"
    other.mkdir()
    (other / "f").write_text("mine")
    if kind == "file":
        place.write_text("mine")
    elif kind == "link":
        place.symlink_to(other, target_is_directory=True)
    elif kind == "dangling":
        place.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
        (place / "f").write_text("mine")
    before = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="`path`: "):
        htf.save_state(tmp_path / "target", jnp.ones(3))
    after = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
    assert after == before


@pytest.mark.parametrize("place", ["notes.txt", "arrays/notes.txt", "checkpoints"])
def test_a_checkpoint_beside_other_files_is_left_alone(tmp_path, place):
    htf.save_state(tmp_path / "s", jnp.ones(3))
    if "." in place:
        (tmp_path / "s" / place).write_text("mine")
    else:
        (tmp_path / "s" / place).mkdir()
    with pytest.raises(ValueError, match=f"holds {place}"):
        htf.save_state(tmp_path / "s", jnp.zeros(3))
    assert (tmp_path / "s" / place).exists()
    np.testing.assert_array_equal(htf.load_state(tmp_path / "s", like=jnp.ones(3)), 1.0)


def test_a_device_node_is_refused():
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        htf.save_state(os.devnull, jnp.ones(3))


def test_an_empty_folder_and_what_a_kill_left_are_used(tmp_path):
    (tmp_path / "s").mkdir()
    unfinished = tmp_path / ".s.new" / "arrays.orbax-checkpoint-tmp"
    unfinished.mkdir(parents=True)
    (unfinished / "half").write_text("")
    htf.runs.write_sealed(tmp_path / ".s.new" / "checkpoint.json", {"format": 1})
    (tmp_path / ".s.new" / ".checkpoint.json.0123abcd.json").write_text("")
    htf.save_state(tmp_path / "s", jnp.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "flipped", "removed"])
def test_damage_of_every_file_is_named(tmp_path, damage):
    path, state = tmp_path / "s", {"w": jnp.arange(100.0), "key": jax.random.key(0)}
    htf.save_state(path, state)
    originals = files_of(path)
    assert len(originals) >= 4
    for name, content in originals.items():
        file = path / name
        if damage == "removed":
            file.unlink()
        elif damage == "flipped":
            middle = len(content) // 2
            file.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        else:
            file.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
        with pytest.raises(ValueError, match=r"`path=.*s` is damaged"):
            htf.load_state(path, like=state)
        file.write_bytes(content)
    assert_equal_trees(htf.load_state(path, like=state), state)


def test_a_checkpoint_holds_no_path_of_the_machine(tmp_path):
    htf.save_state(tmp_path / "s", {"w": jnp.ones(300)})
    for name, content in files_of(tmp_path / "s").items():
        assert str(tmp_path).encode() not in content, name
        assert tmp_path.name.encode() not in content, name
    (tmp_path / "s").rename(tmp_path / "moved")
    loaded = htf.load_state(tmp_path / "moved", like={"w": jnp.zeros(300)})
    np.testing.assert_array_equal(loaded["w"], 1.0)


def test_a_label_is_asked_for(tmp_path):
    htf.save_state(tmp_path / "s", jnp.ones(3), label="run a")
    htf.load_state(tmp_path / "s", like=jnp.ones(3))
    htf.load_state(tmp_path / "s", like=jnp.ones(3), label="run a")
    with pytest.raises(ValueError, match="another run: its label is 'run a'"):
        htf.load_state(tmp_path / "s", like=jnp.ones(3), label="run b")


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    htf.save_state("~/s", jnp.ones(3))
    assert (tmp_path / "s").is_dir()
    np.testing.assert_array_equal(htf.load_state("~/s", like=jnp.zeros(3)), 1.0)


FULL = """
import resource, sys
import numpy as np
import htfjax as htf
path = sys.argv[1]
htf.save_state(path, np.zeros(200_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    htf.save_state(path, np.random.default_rng(0).random(200_000))
except OSError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_one_error_without_tracebacks(tmp_path):
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "s")],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "the disk is full" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    loaded = htf.load_state(tmp_path / "s", like=np.ones(200_000))
    np.testing.assert_array_equal(loaded, 0.0)


def test_states_are_saved_by_several_threads_at_once(tmp_path):
    errors = []

    def save(number: int) -> None:
        try:
            for i in range(3):
                htf.save_state(tmp_path / f"s{number}", np.full(3, 10.0 * number + i))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for k in range(4):
        loaded = htf.load_state(tmp_path / f"s{k}", like=np.zeros(3))
        np.testing.assert_array_equal(loaded, 10.0 * k + 2)


def test_a_checkpoint_is_looked_at_without_knowing_its_structure(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        htf.check_state(tmp_path / "s")
    htf.save_state(tmp_path / "s", {"w": jnp.arange(300.0)}, label="run a")
    htf.check_state(tmp_path / "s")
    htf.check_state(tmp_path / "s", label="run a")
    with pytest.raises(ValueError, match="another run"):
        htf.check_state(tmp_path / "s", label="run b")
    for path in [p for p in (tmp_path / "s").rglob("*") if p.is_file()]:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=r"damaged.*restore it"):
            htf.check_state(tmp_path / "s")
        path.write_bytes(content)
    htf.check_state(tmp_path / "s")


class Killed(BaseException):
    """A kill at a certain place."""


@pytest.mark.parametrize("after", range(0, 10, 2))
def test_a_kill_while_an_old_checkpoint_is_removed(tmp_path, monkeypatch, after):
    """What is left of it is known as ours, and the next call goes on."""
    state = {"w": jnp.arange(300.0)}
    htf.save_state(tmp_path / "s", state)
    left = after
    with monkeypatch.context() as patch:
        for name in ("unlink", "rmdir"):
            remove = getattr(Path, name)

            def count(path, *args, remove=remove, **options):
                nonlocal left
                if ".s.old" in str(path):
                    left -= 1
                    if left < 0:
                        raise Killed
                return remove(path, *args, **options)

            patch.setattr(Path, name, count)
        with pytest.raises(Killed):
            htf.save_state(tmp_path / "s", {"w": state["w"] + 1})
    assert (tmp_path / ".s.old").exists()
    np.testing.assert_array_equal(htf.load_state(tmp_path / "s", state)["w"][0], 1.0)
    htf.save_state(tmp_path / "s", {"w": state["w"] + 2})
    np.testing.assert_array_equal(htf.load_state(tmp_path / "s", state)["w"][0], 2.0)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("second", slow_unless(range(12), (0, 4, 8)))
def test_two_kills_leave_a_checkpoint(tmp_path, monkeypatch, second):
    """The first between the two renames, the second anywhere in the next call."""
    state, fails = {"w": jnp.arange(300.0)}, {"rename": 0, "any": 0}

    def failing(name, kind):
        work = getattr(Path, name)

        def count(path, *args, **options):
            fails[kind] -= 1
            if fails[kind] == 0:
                raise Killed
            return work(path, *args, **options)

        monkeypatch.setattr(Path, name, count)

    htf.save_state(tmp_path / "s", state)
    failing("rename", "rename")
    fails["rename"] = 2
    with pytest.raises(Killed):
        htf.save_state(tmp_path / "s", state)
    assert not (tmp_path / "s").exists()
    for name in ("unlink", "rmdir", "rename", "mkdir"):
        failing(name, "any")
    fails["any"] = second + 1
    with contextlib.suppress(Killed):
        htf.save_state(tmp_path / "s", {"w": state["w"] + 1})
    fails["any"] = 0
    assert float(htf.load_state(tmp_path / "s", state)["w"][0]) in (0.0, 1.0)
    htf.save_state(tmp_path / "s", {"w": state["w"] + 2})
    assert float(htf.load_state(tmp_path / "s", state)["w"][0]) == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_what_a_link_leads_to_is_left_alone(tmp_path):
    """Arrays that were moved to another disk, and an unfinished write beside them."""
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "s"
    htf.save_state(path, {"w": jnp.arange(300.0)})
    (path / "arrays").rename(elsewhere)
    (path / "arrays").symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    (tmp_path / ".s.new").mkdir()
    (tmp_path / ".s.new" / "arrays").symlink_to(tmp_path / "nowhere")
    runs.write_sealed(tmp_path / ".s.new" / "checkpoint.json", {"format": 1})
    for _ in range(2):
        htf.save_state(path, {"w": jnp.arange(300.0) + 1})
    assert sorted(elsewhere.rglob("*")) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "s"]


def test_a_file_of_the_user_in_an_unfinished_checkpoint_is_left_alone(tmp_path):
    (tmp_path / ".s.new").mkdir()
    (tmp_path / ".s.new" / "arrays_of_mine.txt").write_text("mine")
    runs.write_sealed(tmp_path / ".s.new" / "checkpoint.json", {"format": 1})
    with pytest.raises(ValueError, match=r"arrays_of_mine\.txt, which no checkpoint"):
        htf.save_state(tmp_path / "s", jnp.ones(3))


@pytest.mark.parametrize(
    "broken", [{"files": None}, {"files": ["a"]}, {"leaves": [{}]}, {"leaves": None}]
)
def test_a_list_of_another_form_is_damaged(tmp_path, broken):
    htf.save_state(tmp_path / "s", jnp.ones(3))
    mark = tmp_path / "s" / "checkpoint.json"
    runs.write_sealed(mark, runs.read_sealed(mark) | broken)
    for look in (htf.check_state, lambda p: htf.load_state(p, like=jnp.ones(3))):
        with pytest.raises(ValueError, match="damaged"):
            look(tmp_path / "s")
