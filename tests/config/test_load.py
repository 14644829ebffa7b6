"""A configuration is read whole, or every problem in it is told with where it is."""

from pathlib import Path

import pytest

from tocsin.config.load import load_settings, parse_settings
from tocsin.errors import ConfigError
from tocsin.model.address import Address

WHOLE = """\
listen: 0.0.0.0:9001
otlp: {http: "[::1]:4318", grpc: 127.0.0.1:0}
store: duckdb:///var/lib/tocsin
retention: {spans: 2w}
content: {keep: true, redact: ["ACC-[0-9]+"]}
prices:
  my-finetune: {input: 3.00, output: 12.00}
"""


def test_every_key() -> None:
    settings = parse_settings(WHOLE, "tocsin.yaml")

    assert (Address("0.0.0.0", 9001), Address("::1", 4318)) == (settings.listen, settings.otlp.http)
    assert (Address("127.0.0.1", 0), Path("/var/lib/tocsin")) == (
        settings.otlp.grpc,
        settings.store,
    )
    assert (14, True, ("ACC-[0-9]+",)) == (
        *(settings.retention.spans, settings.content.keep),
        settings.content.redact,
    )
    assert {"my-finetune": {"input": 3.0, "output": 12.0}} == settings.prices


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}"])
def test_every_key_is_optional(text: str) -> None:
    settings = parse_settings(text, "x")
    assert (30, False, None) == (settings.retention.spans, settings.content.keep, settings.store)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "t.yaml")
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listne: 1", "t.yaml:1:1: listne: is no key here; write listen"),
        ("retention:\n  span: 3d", "t.yaml:2:3: retention.span: is no key here; write spans"),
        ("rules: [a.yml]", "t.yaml:1:1: rules: is not supported by this version yet; leave it out"),
        ("listen: here", "t.yaml:1:1: listen: 'here' is no address; write HOST:PORT"),
        ("retention: {spans: 36h}", "'36h' is not a time of whole days; write 30d"),
        ("retention: {spans: 30}", "30 is not a time of whole days; write 30d"),
        ("content: {keep: maybe}", "t.yaml:1:11: content.keep: 'maybe' is not right here"),
        ("content: {redact: ['(']}", "t.yaml:1:20: content.redact.0: '(' is not a regular expr"),
        ("store: sqlite:///x", "'sqlite:///x' is no store; write duckdb:// and a directory"),
        ("prices: {m: {input: -1}}", "t.yaml:1:1: prices: "),
        ("prices: 5", "t.yaml:1:1: prices: 5 is not right here"),
        ("a: 1\na: 2", "t.yaml:1:1: a: is given again at 2:1"),
        ("listen: [", "t.yaml:1:10: "),
        ("\tlisten: x", "t.yaml:1:1: "),
        ("- x", "t.yaml:1:1: write keys with values"),
        ("x", "t.yaml:1:1: write keys with values"),
        ("x: !!python/object:os.system {}", "t.yaml:1:1: x: is no key here"),
    ],
)
def test_a_problem_says_where_it_is_and_what_to_write(text: str, problem: str) -> None:
    assert any(problem in line for line in problems(text)), problems(text)


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    found = problems("retention: {spans: x}\nlisten: y\nnothing: z\n")
    assert ["t.yaml:1:", "t.yaml:2:", "t.yaml:3:"] == [line[:9] for line in found]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "nowhere.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"bytes.yaml: cannot be read: it is not UTF-8"):
        load_settings(tmp_path / "bytes.yaml")


def test_nested_without_end() -> None:
    assert "nested too deep" in "\n".join(problems("x: " + "[" * 200 + "]" * 200))
