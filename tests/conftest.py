"""Settings and fixtures that every test shares."""

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI") == "true"

# How long an example takes says something about the machine's load, not about the code.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", UNTIMED)
settings.register_profile("ci", UNTIMED, derandomize=True)
settings.load_profile("ci" if IN_CI else "dev")


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], str]:
    """Return a function: program name -> its path; without it, skip the test (in CI, fail)."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            give_up = pytest.fail if IN_CI else pytest.skip
            give_up(f"{name} is not installed (scripts/externals.sh tells how to get it)")
        return path

    return find
