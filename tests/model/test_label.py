import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.label import MAX_NAME, clean_name, clean_tag

NAMES = [
    ("support", "support"),
    ("  support bot\t", "support bot"),
    ("Kundendienst für alle 客服 🔔", "Kundendienst für alle 客服 🔔"),
    ("a\nb", "a b"),
    ("a\r\nb", "a  b"),
    ("a\u2028b\x85c", "a b c"),
    ("a\x00b\x1b[31m", "a b [31m"),
    ("a\u202eb\u200b", "a b"),
    ("a\ud800b", "a b"),
    ("a\u00a0b", "a b"),
    ("x" * 1000, "x" * MAX_NAME),
    ("", None),
    (" \n\t\x00 ", None),
    ("\n" * 1000 + "late", None),
    (None, None),
    (7, None),
    (True, None),
    (b"bytes", None),
    (["list"], None),
    (object(), None),
]


@pytest.mark.parametrize(("value", "expected"), NAMES)
def test_name_is_cleaned(value: object, expected: str | None) -> None:
    assert expected == clean_name(value)


@given(st.text())
def test_clean_name_is_printable_encodable_short_and_stays_as_it_is(text: str) -> None:
    name = clean_name(text)
    if name is None:
        return

    assert (True, name) == (name.isprintable(), clean_name(name))
    assert 0 < len(name.encode()) <= 4 * MAX_NAME


TAGS = [
    ("acme", "acme"),
    (7, "7"),
    (0, "0"),
    (-7, "-7"),
    (True, None),
    (7.0, None),
    (10**40, None),
    ("", None),
    ("a\nb", "a b"),
    (None, None),
    (["acme"], None),
]


@pytest.mark.parametrize(("value", "expected"), TAGS)
def test_a_tag_is_text_or_a_whole_number(value: object, expected: str | None) -> None:
    assert expected == clean_tag(value)
