from pathlib import Path

import pytest

from tocsin.store.location import default_data

HOME = Path.home() / ".local" / "share"


@pytest.mark.parametrize(
    ("expected", "environment"),
    [
        (Path("/d/tocsin"), {"XDG_DATA_HOME": "/d"}),
        (HOME / "tocsin", {"XDG_DATA_HOME": "relative"}),
        (HOME / "tocsin", {"XDG_DATA_HOME": ""}),
        (HOME / "tocsin", {}),
    ],
)
def test_default_follows_xdg(expected: Path, environment: dict[str, str]) -> None:
    assert expected == default_data(environment)
