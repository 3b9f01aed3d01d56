"""Kinds of `htfjax.runs`, of files and of folders."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

import htfjax as htf
from htfjax import locality, runs
from tests.fuzz import kinds, kinds_objects, kinds_tasks
from tests.fuzz.calls import Call, Form, Kind, Unreadable, Wrong, always
from tests.fuzz.kinds import wrongs

__all__ = ["CALLS", "NO_BASE"]

PATH = dataclasses.replace(
    kinds.PATH,
    wrong=(
        *kinds.PATH.wrong,
        Wrong("bytes", always(b"name")),
        *wrongs(
            ("empty", always("")),
            ("null", always("a\0b")),
            ("nobody", always("~no-such-user-here/x")),
        ),
    ),
)
NO_FOLDER = Wrong(
    "no_folder",
    lambda p: str(Path(p).parent / "not there" / "name"),
    kinds=(ValueError, FileNotFoundError),
)
IS_FOLDER = Wrong("folder", lambda p: str(Path(p).parent))
TEXT = Kind(
    "text",
    (*kinds.STRANGE, *wrongs(("one", always(1)), ("list", lambda v: [v]))),
    (Form("numpy_str", lambda v: np.str_(v)),),
).but(without="bytes")
JSON = Kind(
    "JSON values",
    (
        kinds.NONE,
        kinds.OBJECT,
        kinds.WORD,
        *wrongs(
            ("list", always([1])),
            ("number", always(1.0)),
            ("nan", always({"a": float("nan")})),
            ("inside", lambda _: {"a": Unreadable()}),
            ("set", always({"a": {1}})),
            ("array", lambda _: {"a": np.ones(2)}),
            ("complex", always({"a": 1j})),
            ("bytes", always({"a": b"b"})),
            ("key", always({(1, 2): 3})),
            ("path", always({"a": Path("a")})),
            ("date", always({"a": np.datetime64("2020-01-01")})),
            ("whole", always({"a": np.int64(1)})),
        ),
    ),
)


def new_path(name: str, text: str | None = None) -> str:
    """A path in a fresh folder, with a text written there."""
    path = kinds.path_arguments(name, None)["path"]
    if text is not None:
        Path(path).write_text(text, encoding="utf-8")
    return path


def sealed() -> Path:
    path = Path(new_path("options.json"))
    runs.write_sealed(path, {"seed": 0})
    return path


def damaged(path: Any) -> str:
    return new_path("damaged.json", "{" + str(path))


def archive() -> str:
    path = new_path("a.npz")
    np.savez(path, a=np.ones(2))
    return path


def dataset() -> xr.Dataset:
    return xr.Dataset({"loss": ("step", [1.0, 0.5])})


def results() -> str:
    path = new_path("r.nc")
    htf.save_results(path, dataset())
    return str(Path(path).parent)


def damaged_results(_: Any) -> str:
    return str(Path(new_path("r.nc", "damaged")).parent)


def damaged_folder(path: Any) -> str:
    for file in Path(path).rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-1])
    return str(path)


def weights() -> dict[str, Any]:
    return {"w": jnp.ones(2)}


def write(path: Any, name: str) -> str:
    """An atomic write."""
    with runs.atomic_write(path, name) as temporary:
        temporary.write_text("a", encoding="utf-8")
    return Path(path).read_text(encoding="utf-8")


def lock(path: Any, what: Any, seconds: Any) -> bool:
    """A lock taken and left."""
    with runs.exclusive_lock(path, what, seconds=seconds):
        return True


def lock_folder(folder: Any, what: Any, lock: Any) -> str:
    """A folder locked and left."""
    with runs.locked_folder(folder, what, lock=lock) as path:
        return path.name


def seal(path: Any, values: Any) -> Any:
    """What is read back."""
    runs.write_sealed(path, values)
    return runs.read_sealed(Path(path))


def listen(manager: Callable[[], Any]) -> Any:
    with manager() as found:
        return callable(found)


IS_FILE = Wrong("file", lambda p: new_path("a", "a"))
READ_PATH = PATH.but(
    wrong=(Wrong("missing", lambda p: f"{p}-not", kinds=(FileNotFoundError,)),)
)
STATE = Kind(
    "state",
    (
        kinds.OBJECT,
        kinds.WORD,
        *wrongs(
            ("function", always(len)),
            ("words", always({"w": "a"})),
            ("bytes", always(b"ab")),
            ("set", always({1})),
            ("masked", lambda s: kinds.masked(s["w"])),
            ("objects", lambda s: {"w": np.full(2, None)}),
            ("dates", lambda s: {"w": np.zeros(2, "datetime64[s]")}),
        ),
    ),
    (Form("numpy", kinds_objects.to_numpy),),
)
LIKE = Kind(
    "state",
    (
        kinds.OBJECT,
        kinds.WORD,
        kinds.NONE,
        *wrongs(
            ("other", lambda s: {"v": s["w"]}),
            ("longer", lambda s: {"w": jnp.ones(3)}),
            ("scalar", lambda s: {"w": 1.0}),
            ("more", lambda s: s | {"v": s["w"]}),
            ("array", lambda s: s["w"]),
            ("masked", lambda s: {"w": kinds.masked(s["w"])}),
            ("words", always({"w": "a"})),
        ),
    ),
)

# JSON holds these too, and Python's NaN, whose digest is as good as any.
DIGEST_JSON = JSON.but(without="none word list number nan")

CALLS: dict[str, Call] = {
    # What it is called with comes from the signal module.
    "runs.StopSignals": Call(
        lambda: runs.StopSignals().exit_code, dict, {}
    ),
    "runs.absolute": Call(
        runs.absolute,
        lambda: {"name": "path", "path": new_path("a")[1:]},
        {"name": kinds_objects.ANY, "path": PATH},
        read=lambda path: path.name,
    ),
    "runs.atomic_write": Call(
        write,
        lambda: {"path": new_path("a.txt"), "name": "path"},
        {"path": PATH.but(wrong=(NO_FOLDER, IS_FOLDER)), "name": kinds_objects.ANY},
    ),
    "runs.exclusive_lock": Call(
        lock,
        lambda: {"path": Path(new_path("lock")), "what": "the folder", "seconds": 0.5},
        {
            "path": dataclasses.replace(
                PATH, equal=(Form("text", os.fspath),)
            ).but(wrong=(NO_FOLDER,)),
            "what": TEXT,
            "seconds": kinds.number(0),
        },
    ),
    "runs.locked_folder": Call(
        lock_folder,
        lambda: {"folder": Path(new_path("run")), "what": "the folder", "lock": "lock"},
        {
            "folder": dataclasses.replace(PATH, equal=(Form("text", os.fspath),)),
            "what": TEXT,
            "lock": TEXT,
        },
    ),
    "runs.lock_holder": Call(
        runs.lock_holder,
        lambda: {"path": Path(new_path("lock"))},
        {"path": dataclasses.replace(PATH, equal=(Form("text", os.fspath),))},
    ),
    "runs.file_digest": Call(
        runs.file_digest,
        lambda: {"path": Path(new_path("a.txt", "a"))},
        {
            "path": dataclasses.replace(PATH, equal=(Form("text", os.fspath),)).but(
                wrong=(IS_FOLDER,)
            )
        },
    ),
    "runs.json_digest": Call(
        runs.json_digest, lambda: {"values": {"a": [1, 2.5, "b", None]}},
        {"values": DIGEST_JSON},
    ),
    "runs.write_sealed": Call(
        seal,
        lambda: {"path": Path(new_path("options.json")), "values": {"seed": 0}},
        {
            "path": dataclasses.replace(PATH, equal=(Form("text", os.fspath),)).but(
                wrong=(NO_FOLDER, IS_FOLDER)
            ),
            "values": JSON,
        },
    ),
    "runs.read_sealed": Call(
        runs.read_sealed,
        lambda: {"path": sealed()},
        {
            "path": dataclasses.replace(PATH, equal=(Form("text", os.fspath),)).but(
                wrong=(
                    IS_FOLDER,
                    Wrong("missing", lambda p: f"{p}-not", kinds=(FileNotFoundError,)),
                    Wrong("damaged", damaged),
                )
            )
        },
    ),
    "runs.stop_requested": Call(
        lambda: listen(runs.stop_requested), dict, {}
    ),
    "runs.versions": Call(runs.versions, dict, {}),
    "runs.stop_signals": Call(lambda: listen(runs.stop_signals), dict, {}),
    "runs.read_npz": Call(
        runs.read_npz,
        lambda: {"path": archive()},
        {
            "path": READ_PATH.but(wrong=(IS_FOLDER, Wrong("damaged", damaged))),
        },
    ),
    # Of the core
    "save_factors": Call(
        htf.save_factors,
        lambda: {"path": new_path("f.npz"), "factors": kinds_objects.factors()},
        {
            "path": PATH.but(wrong=(NO_FOLDER, IS_FOLDER)),
            "factors": dataclasses.replace(kinds_objects.FACTORS, equal=()),
        },
    ),
    "load_factors": Call(
        htf.load_factors,
        lambda: kinds.path_arguments(
            "f.npz", lambda p: htf.save_factors(p, kinds_objects.factors())
        ),
        {"path": READ_PATH.but(wrong=(Wrong("damaged", damaged),))},
    ),
    "save_state": Call(
        htf.save_state,
        lambda: {"path": new_path("state"), "state": weights(), "label": "mine"},
        {
            "path": PATH.but(wrong=(NO_FOLDER, IS_FILE)),
            "state": STATE,
            "label": TEXT,
        },
        slow=True,
    ),
    "load_state": Call(
        htf.load_state,
        lambda: {
            **kinds.path_arguments(
                "state", lambda p: htf.save_state(p, weights(), label="mine")
            ),
            "like": weights(),
            "cast": True,
            "label": "mine",
        },
        {
            "path": READ_PATH.but(wrong=(Wrong("damaged", damaged_folder),)),
            "like": dataclasses.replace(LIKE, wrong=tuple(
                dataclasses.replace(w, says=("path",)) for w in LIKE.wrong)),
            "cast": kinds.FLAG,
            "label": TEXT.or_none(),
        },
        slow=True,
    ),
    "check_state": Call(
        htf.check_state,
        lambda: {
            **kinds.path_arguments(
                "state", lambda p: htf.save_state(p, weights(), label="mine")
            ),
            "label": "mine",
        },
        {
            "path": READ_PATH.but(wrong=(Wrong("damaged", damaged_folder),)),
            "label": TEXT.or_none(),
        },
        slow=True,
    ),
    "save_results": Call(
        htf.save_results,
        lambda: {"path": new_path("r.nc"), "dataset": dataset()},
        {
            "path": PATH.but(wrong=(NO_FOLDER, IS_FOLDER)),
            "dataset": Kind(
                "dataset",
                (
                    *kinds.STRANGE,
                    kinds.WORD,
                    *wrongs(
                        ("array", lambda d: d.loss),
                        ("numbers", lambda d: d.loss.values),
                        ("class", type),
                    ),
                ),
            ),
        },
    ),
    "load_results": Call(
        htf.load_results,
        lambda: {"path": results(), "group": "r"},
        {
            "path": READ_PATH.but(wrong=(Wrong("damaged", damaged_results),)),
            "group": Kind(
                "group",
                (
                    *kinds.STRANGE,
                    dataclasses.replace(kinds.WORD, kinds=(FileNotFoundError,)),
                    *wrongs(("one", always(1)), ("list", lambda v: [v])),
                ),
                (Form("numpy_str", lambda v: np.str_(v)),),
            ).or_none(),
        },
    ),
    # Of networks
    "locality.download_cifar10": Call(
        locality.download_cifar10,
        lambda: {
            "folder": new_path("cifar"),
            "url": "file:///no-such-archive.tar.gz",
            "md5": "0" * 32,
            "size": 1,
            "timeout": 1.0,
            "deadline": 1.0,
        },
        {
            "folder": PATH,
            "url": TEXT,
            "md5": TEXT,
            "size": kinds.whole(1),
            "timeout": kinds.number(0, strict=True),
            "deadline": kinds.number(0, strict=True),
        },
    ),
    "locality.load_cifar10": Call(
        locality.load_cifar10,
        lambda: {"folder": new_path("cifar"), "split": "test", "name": "CIFAR-10"},
        {
            "folder": PATH.but(
                wrong=(Wrong("missing", lambda p: f"{p}-not", kinds=(FileNotFoundError,)),)
            ),
            "split": kinds.choice("train", "test"),
            "name": TEXT,
        },
    ),
    "locality.save_pathfinder": Call(
        locality.save_pathfinder,
        lambda: {"path": new_path("p.npz"), "images": kinds_tasks.DRAWN},
        {
            "path": PATH.but(wrong=(NO_FOLDER, IS_FOLDER)),
            "images": Kind(
                "images", (*kinds.STRANGE, kinds.WORD, *wrongs(("pixels", lambda i: i[0])))
            ),
        },
    ),
    "locality.load_pathfinder": Call(
        locality.load_pathfinder,
        lambda: kinds.path_arguments(
            "p.npz", lambda p: locality.save_pathfinder(p, kinds_tasks.DRAWN)
        ),
        {"path": READ_PATH.but(wrong=(Wrong("damaged", damaged),))},
    ),
    "locality.stored_pathfinder": Call(
        locality.stored_pathfinder,
        lambda: {
            "folder": new_path("drawn"),
            "key": kinds_objects.key(),
            "settings": kinds_tasks.SETTINGS,
            "count": 2,
            "processes": 1,
        },
        {
            "folder": PATH,
            "key": kinds_objects.KEY,
            "settings": Kind(
                "settings", (*kinds.STRANGE, kinds.WORD, *wrongs(("one", always(1))))
            ),
            "count": kinds.whole(1),
            "processes": kinds.whole(1),
        },
        slow=True,
    ),
}  # fmt: skip

# They need 170 MB from the network.
NO_BASE = {"locality.download_cifar10", "locality.load_cifar10"}
for _name in NO_BASE:
    CALLS[_name] = dataclasses.replace(
        CALLS[_name],
        kinds={
            name: dataclasses.replace(kind, equal=(), right=())
            for name, kind in CALLS[_name].kinds.items()
        },
    )
