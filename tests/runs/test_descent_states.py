"""Checkpoints of descents: what comes back, what is refused, and writes that end early."""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import htfjax as htf
from tests.stored import Interrupted, assert_bit_equal, factors_for


def square(factors: htf.Factors) -> jax.Array:
    return jnp.sum(jnp.square(htf.end_tensor(factors)))


def descent_state(key, optimizer, dtype=None) -> htf.DescentState:
    start = factors_for(key, htf.flat(2), root="ones", dtype=dtype)
    # Optax mixes int counts with float rates, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        return htf.continue_descent(
            htf.start_descent(start, optimizer),
            square,
            optimizer,
            num_steps=3,
            record_every=3,
        )[0]


GROUP_RMS, ADAM = htf.group_rmsprop(1e-2), optax.adam(1e-2)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("optimizer", [GROUP_RMS, ADAM], ids=["group_rms", "adam"])
def test_checkpoints_round_trip(getkey, tmp_path, optimizer, dtype):
    state = descent_state(getkey(), optimizer, dtype)
    htf.save_state(tmp_path / "state", state)
    fresh = factors_for(getkey(), htf.flat(2), root="ones", dtype=dtype)
    like = htf.start_descent(fresh, optimizer)
    loaded = htf.load_state(tmp_path / "state", like=like)
    assert isinstance(loaded, htf.DescentState)
    assert int(loaded.step) == 3
    assert_bit_equal(loaded, state)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


@pytest.mark.slow
def test_a_loaded_state_goes_on_bit_for_bit(getkey, tmp_path):
    state = descent_state(getkey(), GROUP_RMS)
    htf.save_state(tmp_path / "state", state)
    ends = [
        htf.continue_descent(s, square, GROUP_RMS, num_steps=4, record_every=2)[0]
        for s in (state, htf.load_state(tmp_path / "state", like=state))
    ]
    assert_bit_equal(*ends)


def test_a_checkpoint_replaces_the_one_before(getkey, tmp_path):
    first, second = (descent_state(getkey(), GROUP_RMS) for _ in range(2))
    for state in (first, second):
        htf.save_state(tmp_path / "state", state)
    assert_bit_equal(htf.load_state(tmp_path / "state", like=first), second)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_missing_checkpoint(getkey, tmp_path):
    like = descent_state(getkey(), GROUP_RMS)
    with pytest.raises(FileNotFoundError, match="missing"):
        htf.load_state(tmp_path / "missing", like=like)


def test_saving_a_checkpoint_into_a_missing_folder(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.* does not exist"):
        htf.save_state(tmp_path / "nowhere" / "state", jnp.ones(3))


def test_an_interrupted_checkpoint_leaves_the_old_one(getkey, tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    old, new = (descent_state(getkey(), GROUP_RMS) for _ in range(2))
    htf.save_state(tmp_path / "state", old)

    def stop(*_, **__):
        raise Interrupted

    monkeypatch.setattr(ocp.Checkpointer, "save", stop)
    with pytest.raises(Interrupted):
        htf.save_state(tmp_path / "state", new)
    monkeypatch.undo()
    assert_bit_equal(htf.load_state(tmp_path / "state", like=old), old)
    htf.save_state(tmp_path / "state", new)
    assert_bit_equal(htf.load_state(tmp_path / "state", like=old), new)


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_kill_between_the_renames_leaves_one_readable(
    getkey, tmp_path, monkeypatch, stop_at
):
    old, new = (descent_state(getkey(), GROUP_RMS) for _ in range(2))
    path = tmp_path / "state"
    htf.save_state(path, old)
    rename, calls = Path.rename, []

    def count_then_stop(self, target):
        if tmp_path in Path(self).parents and Path(self).parent == tmp_path:
            if "state" in (Path(self).name, Path(target).name):
                calls.append(target)
                if len(calls) == stop_at:
                    raise Interrupted
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", count_then_stop)
    with pytest.raises(Interrupted):
        htf.save_state(path, new)
    monkeypatch.undo()
    assert_bit_equal(htf.load_state(path, like=old), old)
    htf.save_state(path, new)
    assert_bit_equal(htf.load_state(path, like=old), new)


def test_a_damaged_checkpoint(getkey, tmp_path):
    state = descent_state(getkey(), GROUP_RMS)
    htf.save_state(tmp_path / "state", state)
    for file in (tmp_path / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"`path=.*state`"):
        htf.load_state(tmp_path / "state", like=state)


def test_a_checkpoint_of_another_structure(getkey, tmp_path):
    state = descent_state(getkey(), GROUP_RMS)
    htf.save_state(tmp_path / "state", state)
    other = htf.start_descent(state.params, ADAM)
    with pytest.raises(ValueError, match=r"`path=.*state`"):
        htf.load_state(tmp_path / "state", like=other)


def test_a_checkpoint_of_other_shapes(tmp_path):
    htf.save_state(tmp_path / "state", {"x": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"`path=.*state`"):
        htf.load_state(tmp_path / "state", like={"x": jnp.ones(4)})


def test_a_plain_folder_is_no_checkpoint(tmp_path):
    (tmp_path / "state").mkdir()
    with pytest.raises(ValueError, match=r"`path=.*state`"):
        htf.load_state(tmp_path / "state", like={"x": jnp.ones(3)})
