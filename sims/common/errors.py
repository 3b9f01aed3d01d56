"""Errors that a command reports in one line, without a traceback."""


class SimError(Exception):
    """The message says what is wrong and what to do."""


class SettingError(SimError, ValueError):
    """An option that cannot be; the message names it and says what to do."""


class FolderError(SimError):
    """The folder cannot be used for this run; the message says why and what to do."""


class RunError(SimError):
    """A run cannot go on; the message says which and why."""
