"""Write docs/metrics.md from the catalogue: python scripts/generate_reference.py"""

from pathlib import Path

from tocsin.meters.catalogue import CATALOGUE, Metric

TARGET = Path(__file__).parent.parent / "docs" / "metrics.md"

INTRODUCTION = """\
# Metrics

Generated from `src/tocsin/meters/catalogue.py` by `scripts/generate_reference.py`.

- Every error-like counter is created at 0 together with its total, or the first error would begin
  a series at 1, which `rate()` does not see.
- Unknown is never zero: calls without reported tokens count in `agent_usage_missing_total`, tokens
  without a price in `agent_unpriced_tokens_total`, and neither adds to tokens or cost.
- A label has at most 200 values; the rest is counted under `_other` and in
  `tocsin_label_overflows_total`. A missing name is `unknown`.
- `outcome`: ok, error, max_turns, guardrail, cancelled, stopped, unknown. `error`: rate_limit,
  timeout, server_error, connection, auth, bad_request, context_length, content_filter, cancelled,
  other. `cost_type`: input (what no cache served), output, cache_read, cache_write.
"""


def table(metrics: list[Metric]) -> str:
    """Write metrics as a Markdown table."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in metrics:
        kind = str(metric.type)
        if metric.buckets:
            kind += " " + " ".join(f"{bound}" for bound in metric.buckets)
        rows.append(f"| `{metric.name}` | {kind} | {', '.join(metric.labels)} | {metric.help} |")
    return "\n".join(rows)


def reference() -> str:
    """Write the whole page."""
    agents = [metric for metric in CATALOGUE if metric.name.startswith("agent_")]
    own = [metric for metric in CATALOGUE if metric not in agents]
    return (
        f"{INTRODUCTION}\n## Your agents\n\n{table(agents)}\n\n## Tocsin itself\n\n{table(own)}\n"
    )


if __name__ == "__main__":
    TARGET.write_text(reference())
