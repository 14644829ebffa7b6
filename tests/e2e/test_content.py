"""Prompts and completions are kept where the configuration says so, and nowhere else."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.otlp import otlp_span, request
from tests.fakes.process import Start, starting, wait_for
from tests.fakes.serving import serve
from tocsin.clock import SystemClock
from tocsin.config.load import parse_settings

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
PROMPT = "Where is my order of account ACC-1234, paid by key sk-abcdefghijklmnop?"
KEEP = "content: {keep: true, redact: ['ACC-[0-9]+']}\n"


def send_run(places: Mapping[str, str]) -> dict[str, Any]:
    """Send a run of one call with content; return its one span, as the API tells it."""
    now_ns = SystemClock().wall_ns()
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": PROMPT,
        "gen_ai.tool.call.result": ["part one", "part two"],
        "gen_ai.usage.input_tokens": 5,
    }
    span = otlp_span(
        "chat",
        attributes,
        error=f"the provider said: {PROMPT}",
        start_time_unix_nano=now_ns,
        end_time_unix_nano=now_ns + 5,
    )
    headers = {"content-type": "application/x-protobuf"}
    url = f"http://{places['OTLP/HTTP']}/v1/traces"
    body = request(span, scope="x").SerializeToString()
    assert 200 == httpx.post(url, content=body, headers=headers).status_code
    run_url = f"http://{places['HTTP']}/api/v1/runs/{span.span_id.hex()}"
    assert wait_for(lambda: httpx.get(run_url).status_code == 200, 30)
    (found,) = httpx.get(run_url).json()["spans"]
    assert isinstance(found, dict)
    return found


def start_server(start: Start, folder: Path, text: str) -> Mapping[str, str]:
    (folder / "tocsin.yaml").write_text(text)
    _, places = serve(start, folder / "data", "--config", str(folder / "tocsin.yaml"))
    return places


def test_content_is_kept_without_secrets_where_that_is_switched_on(tmp_path: Path) -> None:
    with starting(tmp_path) as start:
        found = send_run(start_server(start, tmp_path, KEEP))

    assert {
        "gen_ai.input.messages": "Where is my order of account [redacted], paid by key [redacted]?",
        "gen_ai.tool.call.result": '["part one","part two"]',
    } == found["content"]


def test_content_is_dropped_by_default(tmp_path: Path) -> None:
    with starting(tmp_path) as start:
        found = send_run(start_server(start, tmp_path, ""))

    assert {} == found["content"]
    files = [path for path in (tmp_path / "data" / "store").rglob("*") if path.is_file()]
    assert files
    assert [] == [path for path in files if b"Where is my order" in path.read_bytes()]


def test_the_configuration_of_the_docs_is_one() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    assert not parse_settings(block, "docs").content.keep
