"""Tocsin's own exporter (`sources/otlp_encode.py`): the table of its names.

Nothing about such spans is guessed: the sender has classified errors, placed spans in runs and
seen how each run ended. So `own.py` reads them, wherever a span says its `tocsin.span.kind`.
"""

from tocsin.model.span import Kind
from tocsin.sources import tocsin_attributes as t
from tocsin.sources.dialects.table import Dialect, KindRule

__all__ = ["TOCSIN_SDK"]

TOCSIN_SDK = Dialect(
    kinds=(KindRule(rank=0, attribute=t.KIND, values={kind.value: kind for kind in Kind}),),
    others=(
        *(t.NAME, t.OUTCOME, t.CALLS, t.COST, t.ARGUMENTS, t.RETRY, t.TRIGGERED),
        *(t.NESTED, t.BUDGET_WORKER),
        *(t.RUN_ID, t.RUN_OUTCOME, *t.RUN_COUNTS),
    ),
)
