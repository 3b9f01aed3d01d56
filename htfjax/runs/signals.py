"""Signals that ask a long run to save and end: Ctrl-C, SIGTERM and SIGUSR1."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # Slurm sends the last two near a time limit


class StopSignals:
    """A handler of the three signals; also says how the process should end.

    While a run listens (`stop_requested`), the first signal is noted only, so that the
    run can save. Otherwise, and on a second Ctrl-C or SIGTERM, it raises
    KeyboardInterrupt.

    Example:
      >>> import htfjax as htf
      >>> with htf.runs.stop_signals() as signals:
      ...     isinstance(signals, htf.runs.StopSignals), signals.received, signals.exit_code
      (True, None, 130)
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.listening: int = 0
        self.hook: Callable[[sys.UnraisableHookArgs], object] = sys.unraisablehook

    def __call__(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None and number in (signal.SIGINT, signal.SIGTERM)
        self.received = self.received or number
        if again or not self.listening:
            raise KeyboardInterrupt

    def lost(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Repeats a signal whose exception Python dropped, as where it collects garbage."""
        if self.received is None or unraisable.exc_type is not KeyboardInterrupt:
            self.hook(unraisable)
            return
        number, self.received = self.received, None
        main = threading.main_thread().ident
        if hasattr(signal, "pthread_kill"):  # which also ends a wait of the main thread
            threading.Timer(0.01, signal.pthread_kill, [main, number]).start()
        else:
            threading.Timer(0.01, _thread.interrupt_main, [number]).start()

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number by convention: 130 after Ctrl-C, 143 otherwise."""
        return 130 if self.received in (None, signal.SIGINT) else 143


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Handles the signals within the block; a block inside another shares its handler.

    Outside the main thread, where signals do not arrive, nothing is installed.

    Example:
      >>> import htfjax as htf, signal
      >>> with htf.runs.stop_signals() as signals:
      ...     try:
      ...         signal.raise_signal(signal.SIGTERM)
      ...     except KeyboardInterrupt:
      ...         print("ends with code", signals.exit_code)
      ends with code 143
    """
    current = signal.getsignal(signal.SIGINT)
    if isinstance(current, StopSignals):
        yield current
        return
    handler, before = StopSignals(), {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
        before = {number: signal.signal(number, handler) for number in numbers}
    sys.unraisablehook = handler.lost
    try:
        yield handler
    finally:
        sys.unraisablehook = handler.hook
        for number, previous in before.items():
            # None: installed from outside Python, which cannot be put back.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


@contextlib.contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Within the block a signal is noted only; the function yielded says whether one came.

    Example:
      >>> import htfjax as htf, signal
      >>> with htf.runs.stop_requested() as requested:
      ...     signal.raise_signal(signal.SIGINT)
      ...     requested()
      True
    """
    with stop_signals() as handler:
        handler.listening += 1
        try:
            yield lambda: handler.received is not None
        finally:
            handler.listening -= 1
