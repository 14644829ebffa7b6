"""A store in a directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin.store.embedded.store import EmbeddedStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(data)
    yield store
    store.close()
