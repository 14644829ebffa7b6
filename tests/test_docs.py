"""The examples of README and docs run, and generated pages are up to date."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import set_trace_processors
from agents.tracing import get_trace_provider

from tests.fakes.counts import Page
from tocsin.app import install
from tocsin.app.watcher import Watcher
from tocsin.lab.fake_llm import FakeLLM

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/agents-sdk.md", "docs/quality.md", "docs/slas.md", "docs/budgets.md")
RUNS: dict[str, dict[str, int]] = {
    "docs/agents-sdk.md": {"customer-support": 2, "billing": 2},
    "docs/budgets.md": {"support": 3},
}
LINKING = (*PAGES, "docs/architecture.md", "docs/dependencies.md", "docs/server.md")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")


@pytest.fixture
def fake_openai(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeLLM]:
    """The SDK's defaults, pointed at a fake model; nothing installed before or after."""
    monkeypatch.chdir(tmp_path)
    provider = get_trace_provider()
    before = list(provider._multi_processor._processors)  # type: ignore[attr-defined]
    with FakeLLM() as llm:
        monkeypatch.setenv("OPENAI_BASE_URL", llm.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        set_trace_processors([])
        yield llm
        install.default_watcher().close()
        set_trace_processors(before)


# run_sync leaves the SDK's default loop and client open for the next call.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page: str, fake_openai: FakeLLM) -> None:
    blocks = BLOCK.findall((ROOT / page).read_text())
    assert blocks
    namespace: dict[str, object] = {}
    for block in blocks:
        # Port 0: tests may run where 8001 is taken.
        exec(compile(block.replace("8001", "0"), page, "exec"), namespace)
    watcher = namespace.get("watcher") or install.default_watcher()
    assert isinstance(watcher, Watcher)
    watcher.flush()
    ran = Page(watcher.families()).by("agent_workflow_runs_total", "workflow")
    assert RUNS.get(page, {}) == ran


@pytest.mark.parametrize(
    "page", [*PAGES, "docs/architecture.md", "docs/dependencies.md", "docs/server.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [(ROOT / page).parent / target for target in LINK.findall(text)]
    assert [] == [str(target) for target in targets if not target.exists()]


def test_metrics_page_is_up_to_date() -> None:
    script = ROOT / "scripts" / "generate_reference.py"
    spec = importlib.util.spec_from_file_location("generate_reference", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.reference() == (ROOT / "docs" / "metrics.md").read_text()
