"""Numbers as people read them; what is unknown is a dash, never a zero."""

from typing import Final

__all__ = ["UNKNOWN", "at_least", "count", "duration", "money", "share"]

UNKNOWN: Final = "–"  # noqa: RUF001 - a dash as wide as a digit is meant


def duration(seconds: float | None) -> str:
    """Write seconds: 830 ms, 12.4 s, 250 s, 30 min."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 999.5 else f"{seconds / 60:.0f} min"


def count(number: float | None) -> str:
    """Write a count: 812, 8.1k, 84.2k, 842k, 1.3M."""
    if number is None:
        return UNKNOWN
    if number < 1000:
        return f"{number:.0f}"
    if number < 99_950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1000:.0f}k" if number < 999_500 else f"{number / 1e6:.1f}M"


def money(usd: float | None) -> str:
    """Write US dollars: <$0.0001, $0.0042, $0.034, $1.23, $1,234."""
    if usd is None:
        return UNKNOWN
    if usd == 0:
        return "$0"
    if 0 < usd < 0.00005:
        return "<$0.0001"
    for below, decimals in ((0.00995, 4), (0.9995, 3), (999.995, 2)):
        if usd < below:
            return f"${usd:.{decimals}f}"
    return f"${usd:,.0f}"


def share(ratio: float | None) -> str:
    """Write a ratio from 0 to 1: 0 %, 4.2 %, 100 %."""
    if ratio is None:
        return UNKNOWN
    return f"{ratio * 100:.0f} %" if ratio in (0, 1) else f"{ratio * 100:.1f} %"


def at_least(text: str, *, partial: bool) -> str:
    """Mark a sum from which unknown parts are missing."""
    return f"{text}+" if partial and text != UNKNOWN else text
