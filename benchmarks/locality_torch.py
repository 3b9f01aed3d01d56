"""Steps of a ResNet18 in PyTorch, taken on demand: the rival of `locality.py`.

Run by path in any interpreter that has torch and NumPy (it imports nothing else), it reads
the problem from an npz file, then takes the step that each line of its input names and
answers with what the step measured. A line is a spelling and a word: `plain` and
`regularized` are steps, `reset` goes back to the start, `stem` is the stem's kernel. The
spellings are PyTorch's own layout (`contiguous`), the one its CPU kernels like better
(`channels_last`), and that compiled (`compiled`; the plain step only, since what is
compiled has no second derivatives).
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


class Run:
    """A network in training, in one spelling."""

    def __init__(self, problem: Any, options: dict[str, Any], spelling: str) -> None:
        self.options = options
        self.weights, self.running = start(problem)
        self.x = torch.tensor(problem["x"]).permute(0, 3, 1, 2).contiguous()
        self.y = torch.tensor(problem["y"])
        if spelling != "contiguous":
            layout = torch.channels_last
            self.x = self.x.contiguous(memory_format=layout)
            for key, w in self.weights.items():
                if w.ndim == 4:
                    w = w.detach().contiguous(memory_format=layout)
                    self.weights[key] = w.requires_grad_()
        self.logits = torch.compile(logits) if spelling == "compiled" else logits
        both = self.weights | self.running
        self.begun = {key: value.detach().clone() for key, value in both.items()}
        self.optimizer = torch.optim.SGD(
            self.weights.values(), options["rate"], options["momentum"]
        )

    def step(self, regularized: bool) -> dict[str, float]:
        """What a step measured."""
        self.optimizer.zero_grad()
        image = self.x.clone().requires_grad_(regularized)
        z = self.logits(self.weights, self.running, image)
        fit = functional.binary_cross_entropy_with_logits(z, self.y)
        found, total = {"loss": fit.item()}, fit
        if regularized:
            boxes = self.options["patches"]
            p, q = ((slice(t, t + h), slice(l, l + w)) for t, l, h, w in boxes)
            swapped = self.x.clone()
            swapped[:, :, q[0], q[1]] = self.x[:, :, q[0], q[1]].roll(-1, 0)
            swapped.requires_grad_()
            other = self.logits(self.weights, self.running, swapped)
            r = change(z, other, image, swapped, p)
            total = fit + self.options["coefficient"] * r
            found["change"] = r.item()
        total.backward()
        self.optimizer.step()
        return found

    def reset(self) -> dict[str, Any]:
        """Back to the start; versions."""
        self.optimizer.state.clear()
        with torch.no_grad():
            for key, value in (self.weights | self.running).items():
                value.copy_(self.begun[key])
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def stem(self) -> dict[str, Any]:
        """The stem's kernel, its channels last."""
        kernel = self.weights["stem.kernel"].detach().permute(0, 2, 3, 1)
        return {"stem": kernel.flatten().tolist()}


def main() -> int:
    """Answers lines until the input ends."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    problem = np.load(sys.argv[1], allow_pickle=False)
    options = json.loads(sys.argv[2])
    runs: dict[str, Run] = {}
    for line in sys.stdin:
        spelling, word = line.split()
        if spelling not in runs:
            runs[spelling] = Run(problem, options, spelling)
        run = runs[spelling]
        try:
            if word in ("plain", "regularized"):
                answer = run.step(word == "regularized")
            else:
                answer = {"reset": run.reset, "stem": run.stem}[word]()
        except RuntimeError as error:  # no compiler, for example
            answer = {"error": str(error)[:500]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
