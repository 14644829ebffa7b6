import pytest

from tocsin.errors import ConfigError
from tocsin.store.redaction import Redactor


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "ghp_abcdefghijklmnopqrst",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP",
        "Bearer abcdefghijklmnop",
        "bob.smith@example.co.uk",
        "4111 1111 1111 1111",
        "DE89 3704 0044 0532 0130 00",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIE, cut off",
    ],
)
def test_takes_secrets_out(secret: str) -> None:
    text = Redactor().redact_text(f"before {secret}")
    assert secret not in text
    assert text.startswith("before ")
    assert "[redacted]" in text


def test_leaves_ordinary_text_alone() -> None:
    text = "Order 12345 was paid on 2026-11-24 at 10:15; call me."
    assert text == Redactor().redact_text(text)


def test_takes_patterns_of_the_user() -> None:
    assert {"input": "[redacted] called"} == Redactor([r"CUST-\d+"]).redact(
        {"input": "CUST-991 called"}
    )


def test_names_a_pattern_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"'\(' is not a regular expression"):
        Redactor(["("])


def test_cuts_long_text_so_that_no_secret_slips_past_the_cut() -> None:
    assert "ab… [cut]" == Redactor(max_characters=2).redact_text("abc")
