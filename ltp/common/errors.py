"""The one exception that users see as a single line instead of a traceback."""

from __future__ import annotations


class LTPError(Exception):
    """A problem that the user can fix.

    The message is one line: the key or file, its value, what was expected, how to fix it.
    The command line prints it without a traceback and exits with status 1.
    """


class UnwritableError(LTPError):
    """A file that cannot be written, as on a full disk: the same call may succeed later."""


def missing_package(what: str, package: str, extra: str) -> LTPError:
    """The error that ``what`` needs ``package``, which comes with one of this distribution's extras."""
    return LTPError(f"{what}: needs {package}, which is not installed; pip install 'learned-token-pruning[{extra}]'")
