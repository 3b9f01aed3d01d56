"""Last words: a line for standard error if this process ends without a chance to say it.

jax aborts a process whose partners are gone, and a kill gives none a chance. So a small
process of its own waits for the end of this one, and says the line that it was told last.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

# It outlives signals that are sent to all processes of a job.
WATCH = """
import signal, sys
for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
*_, last = ["", *sys.stdin.read().split("\\n")[:-1]]
if last:
    sys.stderr.write(last + "\\n")
"""


@contextlib.contextmanager
def last_words() -> Iterator[Callable[[str], None]]:
    """Within the block, the function yielded sets the line; "" and the end take it back."""
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WATCH], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True, encoding="utf-8", start_new_session=True,
    )  # fmt: skip
    assert watch.stdin is not None
    pipe = watch.stdin

    def tell(line: str) -> None:
        with contextlib.suppress(OSError):  # it was killed
            pipe.write(f"{line}\n")
            pipe.flush()

    try:
        yield tell
    finally:
        tell("")
        with contextlib.suppress(OSError):
            pipe.close()
        watch.wait()
