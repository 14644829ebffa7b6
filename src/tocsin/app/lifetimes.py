"""What lives as long as its process: closed at exit, and started over in a forked child."""

import atexit
import multiprocessing.util
import os
import weakref
from typing import Protocol

__all__ = ["live_and_die_with_process"]


class Lasting(Protocol):
    """Something with threads, locks or files of one process."""

    def close(self) -> object:
        """Let go of everything."""
        ...

    def reset_after_fork(self) -> None:
        """Start over in a forked child."""
        ...


LASTING: weakref.WeakSet[Lasting] = weakref.WeakSet()


def live_and_die_with_process(lasting: Lasting) -> None:
    """Close it at exit, and reset it after every fork."""
    LASTING.add(lasting)


def _close_all() -> None:
    for lasting in list(LASTING):
        lasting.close()


def _reset_all() -> None:
    for lasting in list(LASTING):
        lasting.reset_after_fork()


def _close_all_at_exit(_: object = None) -> None:
    """Register with both ways out: multiprocessing's children skip atexit."""
    multiprocessing.util.Finalize(None, _close_all, exitpriority=100)


atexit.register(_close_all)
_close_all_at_exit()
multiprocessing.util.register_after_fork(LASTING, _close_all_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
