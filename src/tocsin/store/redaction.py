"""Prompts and completions, should anyone want them kept, without what must not be in them."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tocsin.errors import ConfigError

__all__ = ["DEFAULT_PATTERNS", "Redactor"]

DEFAULT_PATTERNS: Final = (
    r"\b(?:sk|pk|rk|ghp|gho|ghs|xox[abprs])[-_][A-Za-z0-9_-]{12,}",  # API keys
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS key ids
    r"\bey[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}",  # JSON web tokens
    r"(?i:\bbearer\s+[A-Za-z0-9._~+/=-]{12,})",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+",  # e-mail
    r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",  # IBAN
    r"\b(?:\d[ -]?){13,19}\b",  # payment cards
)
REPLACEMENT: Final = "[redacted]"
MAX_CHARACTERS: Final = 32_768
CUT: Final = "… [cut]"


class Redactor:
    """Replaces what any pattern matches, and cuts what is too long.

    patterns: Python regular expressions, besides `DEFAULT_PATTERNS`. Raises ConfigError for one
    that is none. Text beyond max_characters is cut before it is searched.
    """

    def __init__(
        self, patterns: Sequence[str] = (), *, max_characters: int = MAX_CHARACTERS
    ) -> None:
        self._patterns = [_compile(pattern) for pattern in (*DEFAULT_PATTERNS, *patterns)]
        self._max_characters = max_characters

    def redact(self, content: Mapping[str, str]) -> dict[str, str]:
        """Return a content map with every value redacted."""
        return {name: self.redact_text(text) for name, text in content.items()}

    def redact_text(self, text: str) -> str:
        """Return a text without what the patterns match."""
        is_long = len(text) > self._max_characters
        text = text[: self._max_characters]
        for pattern in self._patterns:
            text = pattern.sub(REPLACEMENT, text)
        return text + CUT if is_long else text


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"redaction pattern {pattern!r} is not a regular expression: {error}"
        ) from error
