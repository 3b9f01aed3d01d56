"""Kernel of an executed example: figures that a cell leaves open become pictures.

Each becomes two PNG files, and the cell shows both with the marks by which the site's style
sheet hides one of them. A figure that cannot be read is an error of the example.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from docs.tools.legibility import faults
from docs.tools.pictures import describe, write_figure


def install(folder: str, name: str) -> None:
    """Shows the figures of every following cell as pairs of files in `folder`."""
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    mpl.use("agg")
    import matplotlib.pyplot as plt

    numbers = iter(range(1, 1000))

    def flush(*_: Any, **__: Any) -> None:
        for figure in map(plt.figure, plt.get_fignums()):
            stem = Path(folder) / f"{name}-{next(numbers)}"
            if found := faults(figure):
                raise ValueError(f"{stem.name} cannot be read: {'; '.join(found)}")
            write_figure(figure, stem)
            alt = describe(figure)
            pair = [
                f"![{alt}]({stem.name}-{scheme}.png#only-{scheme})"
                for scheme in ("light", "dark")
            ]
            display({"text/markdown": "\n".join(pair)}, raw=True)
            plt.close(figure)

    # agg warns that it cannot show; scripts end with `plt.show()` for those who can.
    plt.show = flush
    shell = get_ipython()
    assert shell is not None
    shell.events.register("post_execute", flush)
