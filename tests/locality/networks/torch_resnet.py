"""A ResNet 18 out of torch's functions, on our weights by name; needs torch."""

from typing import Any

import numpy as np


def run(params: Any, statistics: Any, x: np.ndarray) -> dict[str, Any]:
    """Logits, running statistics after a training pass, and gradients of sum logits^2."""
    # Here, so that the module can be imported without torch.
    import torch  # pyright: ignore[reportMissingImports]
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

    w = {k: torch.tensor(np.asarray(v), requires_grad=True) for k, v in params.items()}
    running = {k: torch.tensor(np.asarray(v)) for k, v in statistics.items()}

    def conv(x: Any, name: str, stride: int) -> Any:
        kernel = w[f"{name}.kernel"].permute(0, 3, 1, 2)
        return functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2)

    def norm(x: Any, name: str) -> Any:
        return functional.batch_norm(
            x, running[f"{name}.mean"], running[f"{name}.variance"],
            w[f"{name}.scale"], w[f"{name}.bias"], training=True,
        )  # fmt: skip

    h = torch.tensor(x).permute(0, 3, 1, 2)
    h = functional.max_pool2d(torch.relu(norm(conv(h, "stem", 2), "norm")), 3, 2, 1)
    for stage in range(4):
        for block in range(2):
            at, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            y = torch.relu(norm(conv(h, f"{at}.first", stride), f"{at}.norm_first"))
            y = norm(conv(y, f"{at}.second", 1), f"{at}.norm_second")
            if f"{at}.shortcut.0.kernel" in w:
                h = norm(conv(h, f"{at}.shortcut.0", stride), f"{at}.shortcut.1")
            h = torch.relu(h + y)
    logits = (h.mean((2, 3)) @ w["head.matrix"] + w["head.bias"])[:, 0]
    gradients = torch.autograd.grad(torch.sum(logits**2), list(w.values()))
    return {
        "logits": logits.detach().numpy(),
        "statistics": {k: v.numpy() for k, v in running.items()},
        "gradients": {k: g.numpy() for k, g in zip(w, gradients, strict=True)},
    }
