"""Steps of a ResNet18 in PyTorch, taken on demand: the rival of `locality.py`.

Run by path in any interpreter that has torch and NumPy (it imports nothing else), it reads
the problem from an npz file, then takes the step that each line of its input names and
answers with what the step measured. `reset` goes back to the start.
"""

import importlib
import json
import os
import sys
from typing import Any

import numpy as np

# By name: type checkers run where torch is not installed.
torch = importlib.import_module("torch")
functional = torch.nn.functional
BLOCKS = 2  # a stage


def start(problem: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights in torch's layout, and running statistics."""
    weights, running = {}, {}
    for name in problem.files:
        kind, _, key = name.partition("/")
        value = torch.tensor(problem[name])
        if kind == "statistics":
            running[key] = value
        elif kind == "params":
            if value.ndim == 4:
                value = value.permute(0, 3, 1, 2).contiguous()
            weights[key] = value.requires_grad_()
    return weights, running


def logits(w: dict[str, Any], running: dict[str, Any], x: Any) -> Any:
    """One pass in train mode; the running statistics move."""

    def conv_norm(x: Any, layer: str, norm: str, stride: int) -> Any:
        kernel = w[f"{layer}.kernel"]
        y = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2)
        return functional.batch_norm(
            y, running[f"{norm}.mean"], running[f"{norm}.variance"], w[f"{norm}.scale"],
            w[f"{norm}.bias"], training=True,
        )  # fmt: skip

    h = functional.max_pool2d(torch.relu(conv_norm(x, "stem", "norm", 2)), 3, 2, 1)
    for stage in range(4):
        for block in range(BLOCKS):
            at, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            y = torch.relu(conv_norm(h, f"{at}.first", f"{at}.norm_first", stride))
            y = conv_norm(y, f"{at}.second", f"{at}.norm_second", 1)
            if f"{at}.shortcut.0.kernel" in w:
                h = conv_norm(h, f"{at}.shortcut.0", f"{at}.shortcut.1", stride)
            h = torch.relu(h + y)
    return (h.mean((2, 3)) @ w["head.matrix"] + w["head.bias"])[:, 0]


def change(z: Any, other: Any, x: Any, swapped: Any, box: tuple[slice, slice]) -> Any:
    """Mean |cos| of the input gradients of both passes in a patch."""
    rows = []
    for total, image in ((z.sum(), x), (other.sum(), swapped)):
        (g,) = torch.autograd.grad(total, image, create_graph=True)
        rows.append(g[:, :, box[0], box[1]].flatten(1))
    return functional.cosine_similarity(*rows, dim=1).abs().mean()


def main() -> int:
    """Answers lines until the input ends."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    problem = np.load(sys.argv[1], allow_pickle=False)
    options = json.loads(sys.argv[2])
    weights, running = start(problem)
    begun = {k: v.detach().clone() for k, v in (weights | running).items()}
    x = torch.tensor(problem["x"]).permute(0, 3, 1, 2).contiguous()
    y = torch.tensor(problem["y"])
    p, q = ((slice(t, t + h), slice(l, l + w)) for t, l, h, w in options["patches"])
    optimizer = torch.optim.SGD(weights.values(), options["rate"], options["momentum"])

    def step(regularized: bool) -> dict[str, float]:
        optimizer.zero_grad()
        image = x.clone().requires_grad_(regularized)
        z = logits(weights, running, image)
        fit = functional.binary_cross_entropy_with_logits(z, y)
        found, total = {"loss": fit.item()}, fit
        if regularized:
            swapped = x.clone()
            swapped[:, :, q[0], q[1]] = x[:, :, q[0], q[1]].roll(-1, 0)
            swapped.requires_grad_()
            r = change(z, logits(weights, running, swapped), image, swapped, p)
            found, total = found | {"change": r.item()}, fit + options["coefficient"] * r
        total.backward()
        optimizer.step()
        return found

    def reset() -> dict[str, Any]:
        optimizer.state.clear()
        with torch.no_grad():
            for key, value in (weights | running).items():
                value.copy_(begun[key])
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def stem() -> dict[str, Any]:
        kernel = weights["stem.kernel"].detach().permute(0, 2, 3, 1)
        return {"stem": kernel.flatten().tolist()}

    works = {"plain": lambda: step(False), "regularized": lambda: step(True),
             "reset": reset, "stem": stem}  # fmt: skip
    for line in sys.stdin:
        sys.stdout.write(json.dumps(works[line.strip()]()) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
