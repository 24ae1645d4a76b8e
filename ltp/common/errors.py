"""The one exception that users see as a single line instead of a traceback."""

from __future__ import annotations


class LTPError(Exception):
    """A problem that the user can fix.

    The message is one line: the key or file, its value, what was expected, how to fix it.
    The command line prints it without a traceback and exits with status 1.
    """
