"""What do other libraries take for the same work?

PyTorch: the one-hot scheme in three spellings, and our own scheme (tables of pairs and a
masked residual at the root), eager and compiled, all written here. teneva_ht_jax: value and
gradient of the same completion, our matrices as its cores. tensap: all tree singular
values. Each is left out by name where it is not installed (`pip install ".[peers]"`).
Values are checked equal first; all run in this process on the same cores, in turns of
equal length.
"""

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import htfjax as htf
from benchmarks import contraction, harness, schemes

TURN = 200.0  # milliseconds
Call = tuple[Callable[..., Any], tuple]


def ours(factors: htf.Factors, indices: Any, targets: Any) -> tuple[float, Call]:
    """The loss, and a program of 20 values and gradients."""
    loss = htf.completion_loss(factors.tree, htf.mode_dims(factors), indices, targets)
    call = harness.value_and_gradient(schemes.planned_loss, 20)
    return float(loss(factors)), (call, (factors, loss))


def pytorch() -> dict[str, Any]:
    """The paper's run: one-hot with products spelled three ways, and tables as here.

    One-hot against the plan compares schemes; tables against the plan compares libraries.
    """
    torch = importlib.import_module("torch")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    factors, indices, targets = schemes.problem(
        *contraction.CASES["order 4, D 8, widths 512, B 2048"]
    )
    value, plan = ours(factors, indices, targets)
    weights = [torch.tensor(np.asarray(w), requires_grad=True) for w in factors.weights]
    inputs = torch.tensor(np.asarray(schemes.one_hot(indices, 8)))
    wanted = torch.tensor(np.asarray(targets))

    def sliced(rows: Any, matrices: Any) -> Any:
        joint = rows[:, 0::2] * rows[:, 1::2]
        return torch.einsum("bnr,nrs->bns", joint, matrices)

    def reduced(rows: Any, matrices: Any) -> Any:
        joint = rows.reshape(rows.shape[0], -1, 2, rows.shape[2]).prod(dim=2)
        return torch.einsum("bnr,nrs->bns", joint, matrices)

    def three(rows: Any, matrices: Any) -> Any:
        return torch.einsum("bnr,bnr,nrs->bns", rows[:, 0::2], rows[:, 1::2], matrices)

    def step(level: Any) -> Any:
        rows = torch.einsum("bnd,ndr->bnr", inputs, torch.stack(weights[:4]))
        rows = level(rows, torch.stack(weights[4:6]))
        values = level(rows, weights[6][None])[:, 0, 0]
        loss = torch.mean((values - wanted) ** 2)
        torch.autograd.grad(loss, weights)
        return loss

    dense = torch.zeros(64, 64)
    seen = torch.zeros(64, 64)
    rows = torch.tensor(np.asarray(indices[:, :2] @ np.array([8, 1]), np.int64))
    columns = torch.tensor(np.asarray(indices[:, 2:] @ np.array([8, 1]), np.int64))
    dense[rows, columns], seen[rows, columns] = wanted, 1.0
    assert int(seen.sum()) == len(wanted)  # no entry is observed twice

    def pair(one: Any, other: Any, matrix: Any) -> Any:
        return (one[:, None] * other[None]).reshape(-1, one.shape[1]) @ matrix

    def tables(w: Any) -> Any:
        left, right = pair(w[0], w[1], w[4]), pair(w[2], w[3], w[5])
        residuals = seen * ((left * w[6][:, 0]) @ right.T - dense)
        return torch.sum(residuals**2) / len(wanted)

    def table_step(loss_of: Any) -> Any:
        loss = loss_of(weights)
        torch.autograd.grad(loss, weights)
        return loss

    steps = {
        f"torch, {name}": functools.partial(step, level)
        for name, level in (("slices", sliced), ("prod", reduced), ("one einsum", three))
    }
    steps["torch, tables"] = functools.partial(table_step, tables)
    steps["torch, tables, compiled"] = functools.partial(table_step, torch.compile(tables))
    schemes.check_equal({"plan": value} | {k: call().item() for k, call in steps.items()})
    found = harness.measure({"plan": plan}, inner=20, besides=steps, shortest_turn=TURN)
    return _with_ratios(found, "plan") | {"threads": torch.get_num_threads()}


def teneva() -> dict[str, Any]:
    """Cores of three indices with our matrices on the diagonal, one multi-index a call."""
    peer = importlib.import_module("teneva_ht_jax")
    tree, width = htf.perfect(8), 32
    factors, indices, targets = schemes.problem(tree, 4, width, 1024)
    value, plan = ours(factors, indices, targets)
    w, diagonal = factors.weights, jnp.arange(width)

    def core(matrix: jax.Array) -> jax.Array:
        empty = jnp.zeros((width, width, width), jnp.float32)
        return empty.at[diagonal, :, diagonal].set(matrix)

    pairs = [k for k in tree.interior if len(tree.modes[k]) == 2]
    fours = [k for k in tree.interior if len(tree.modes[k]) == 4]
    cores = [
        jnp.stack(w[:8]),
        jnp.stack([core(w[k]) for k in pairs]),
        jnp.stack([core(w[k]) for k in fours]),
        jnp.diag(w[tree.root][:, 0]),
    ]

    def loss(cores: list, data: tuple) -> jax.Array:
        indices, targets = data
        values = jax.vmap(peer.get, (None, 0))(cores, indices)
        return jnp.mean(jnp.square(values - targets))

    schemes.check_equal({"plan": value, "teneva_ht_jax": loss(cores, (indices, targets))})
    theirs = harness.value_and_gradient(loss, 20), (cores, (indices, targets))
    cases = {"plan": plan, "teneva_ht_jax": theirs}
    found = harness.measure(cases, inner=20, shortest_turn=TURN)
    return _with_ratios(found, "plan")


def tensap() -> dict[str, Any]:
    """All tree singular values of order 8, D 4, width 32, float64."""
    peer = importlib.import_module("tensap")
    width = 32
    with jax.enable_x64(True):
        factors = htf.gaussian_factors(
            jax.random.key(0), htf.perfect(8), 4, width, 0.2, dtype=jnp.float64
        )
        qr = jax.jit(lambda f: htf.spectra(f, method="qr"))
        gram = jax.jit(lambda f: htf.spectra(f, method="gram"))
        spectra = qr(factors)
        theirs_tree = peer.DimensionTree.balanced(8)
        cores, match = _tensap_cores(factors, theirs_tree, width)
        tensor = peer.TreeBasedTensor(
            [peer.FullTensor(core, core.ndim, core.shape) for core in cores], theirs_tree
        )
        values = tensor.singular_values()
        for theirs, node in match.items():
            count = len(spectra[node].values)
            np.testing.assert_allclose(
                np.sort(values[theirs - 1])[::-1][:count], spectra[node].values,
                atol=1e-6 * float(spectra[node].values[0]),
            )  # fmt: skip
        calls = {
            "spectra, qr": lambda: jax.block_until_ready(qr(factors)),
            "spectra, gram": lambda: jax.block_until_ready(gram(factors)),
            "tensap": tensor.singular_values,
        }
        found = harness.measure({}, inner=1, besides=calls, shortest_turn=TURN)
    return _with_ratios(found, "spectra, qr")


def _tensap_cores(factors: htf.Factors, tree: Any, width: int) -> tuple[list, dict]:
    """Cores in the order of its nodes, and its node -> ours with the same modes."""
    ours_by_modes = {frozenset(m): k for k, m in enumerate(factors.tree.modes)}
    cores, match = [], {}
    for node in range(1, tree.nb_nodes + 1):
        dims = np.atleast_1d(tree.dims[node - 1])
        ours_node = ours_by_modes[frozenset(int(d) for d in dims)]
        weight = np.asarray(factors.weights[ours_node])
        if len(dims) == 1:
            cores.append(weight)
        elif ours_node == factors.tree.root:
            cores.append(np.diag(weight[:, 0]))
        else:
            core = np.zeros((width, width, width))
            core[np.arange(width), np.arange(width)] = weight
            cores.append(core)
        if ours_node != factors.tree.root:
            match[node] = ours_node
    return cores, match


def _with_ratios(found: dict[str, Any], base: str) -> dict[str, Any]:
    ratios = {
        f"{name} / {base}": round(row["milliseconds"] / found[base]["milliseconds"], 1)
        for name, row in found.items()
        if name != base
    }
    return {"results": found, "ratios": ratios}


def main() -> int:
    """Measures what is installed, prints and writes the record."""
    console, record = Console(width=110), {}
    for name, package, work in (
        ("PyTorch, order 4, D 8, widths 512, B 2048", "torch", pytorch),
        ("teneva_ht_jax, order 8, D 4, widths 32, B 1024", "teneva_ht_jax", teneva),
        ("tensap, all spectra, order 8, D 4, widths 32", "tensap", tensap),
    ):
        if importlib.util.find_spec(package) is None:
            console.print(f"{name}: left out, {package} is not installed")
            continue
        record[name] = work()
        console.print(name, record[name])
    path = harness.write_record("peers", record)
    console.print(f"written to {path}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
