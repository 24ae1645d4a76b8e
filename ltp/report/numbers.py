"""How the page writes numbers: fixed decimals, true minus signs, units that stay with their number."""

from __future__ import annotations


def fixed(value: float | None, decimals: int = 1) -> str:
    """A number with fixed decimals and a true minus sign; nothing for no number."""
    return "" if value is None else f"{value + 0.0:.{decimals}f}".replace("-", "−")


def signed(value: float | None, decimals: int = 1) -> str:
    """The same with a plus sign where it is positive."""
    return "" if value is None else f"{value + 0.0:+.{decimals}f}".replace("-", "−")


def significant(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits."""
    return "" if value is None else f"{value:#.{digits}g}".rstrip(".").replace("-", "−")


def unbroken(text: str) -> str:
    """Text in which no line ends between a number and its unit."""
    return text.replace(" ×", "\N{NO-BREAK SPACE}×").replace(" %", "\N{NO-BREAK SPACE}%")
