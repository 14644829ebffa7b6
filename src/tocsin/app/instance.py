"""Who this process is to servers: the same in all that it sends, another in a forked child."""

import os
import uuid

__all__ = ["instance_id"]

_ids: dict[int, str] = {}


def instance_id() -> str:
    """Id of this process: `service.instance.id` of its spans, and as whom it leases budgets."""
    pid = os.getpid()
    if pid not in _ids:
        _ids.clear()
        _ids[pid] = str(uuid.uuid4())
    return _ids[pid]
