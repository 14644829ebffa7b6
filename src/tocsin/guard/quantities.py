"""Limits as people write them: 120s, 2.00 USD, 20000."""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Final

__all__ = ["parse_count", "parse_percentage", "parse_seconds", "parse_share", "parse_usd"]

DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?")
UNIT_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
MONEY: Final = re.compile(r"\$?\s*(\d+(?:\.\d+)?)\s*(?:USD)?", re.I)
PERCENTAGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")
MAX_SHARE: Final = 10
"""1000 %: above it somebody wrote 80 and meant 80 %."""
MAX_SECONDS: Final = 1e9
"""31 years: above it a limit is a slip of the keyboard, and event loops refuse such timers."""


def parse_seconds(value: object) -> float | None:
    """Seconds above 0 from 120, "120s", "2m", "500ms", "30d"; None where it is not that."""
    if isinstance(value, str):
        match = DURATION.fullmatch(value.strip())
        value = float(match[1]) * UNIT_S[match[2] or "s"] if match else None
    number = _positive(value)
    return None if number is None or number > MAX_SECONDS else float(number)


def parse_usd(value: object) -> Decimal | None:
    """US dollars above 0 from 0.5, Decimal("0.5"), "0.50 USD" or "$0.50"; None otherwise."""
    if isinstance(value, str):
        match = MONEY.fullmatch(value.strip())
        value = Decimal(match[1]) if match else None
    number = _positive(value)
    return None if number is None else Decimal(str(number))


def parse_count(value: object) -> int | None:
    """Return a whole number above 0; None where it is not that."""
    number = _positive(value)
    return None if number is None or number != int(number) else int(number)


def parse_share(value: object) -> float | None:
    """Return a share above 0 and below 1 from 0.8, "80%" or "99.9 %"; None where it is not that."""
    share = parse_percentage(value)
    return None if share is None or share >= 1 else float(share)


def parse_percentage(value: object) -> Decimal | None:
    """Share of a limit, above 0 and up to 10, from 1.2, "1.2" or "120%"; None otherwise."""
    if isinstance(value, str):
        match = PERCENTAGE.fullmatch(value.strip())
        value = Decimal(match[1]) / (100 if match[2] else 1) if match else None
    number = _positive(value)
    return None if number is None or number > MAX_SHARE else Decimal(str(number))


def _positive(value: object) -> int | float | Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        return value if math.isfinite(value) and value > 0 else None
    except (ValueError, OverflowError, InvalidOperation):  # a signalling NaN, a huge integer
        return None
