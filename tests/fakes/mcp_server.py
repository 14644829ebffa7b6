"""An MCP server in this process whose only tool fails as MCP tools do: with an error result."""

from typing import Any

from agents.mcp import MCPServer
from mcp.types import CallToolResult, TextContent, Tool


class FailingServer(MCPServer):
    """Offers `query`, which always fails."""

    def __init__(self) -> None:
        super().__init__()

    @property
    def name(self) -> str:
        return "warehouse"

    async def connect(self) -> None:
        pass

    async def cleanup(self) -> None:
        pass

    async def list_tools(self, *_: Any, **__: Any) -> list[Tool]:
        schema = {"type": "object", "properties": {}}
        return [Tool.model_validate({"name": "query", "inputSchema": schema})]

    async def call_tool(self, *_: Any, **__: Any) -> CallToolResult:
        text = "Error executing tool query: no such table"
        content = [TextContent(type="text", text=text)]
        return CallToolResult.model_validate({"content": content, "isError": True})

    async def list_prompts(self) -> Any:
        raise NotImplementedError

    async def get_prompt(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError
