"""The part of the load that one event loop sends."""

from __future__ import annotations

import asyncio

import pytest

from pytest_dsr1.engines.openai.sending import part
from pytest_dsr1.errors import EngineError


def test_a_failure_ends_the_other_work() -> None:
    """Otherwise the other servers' connections would be opened after all were closed."""
    ended = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("slow")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise EngineError("refused")

    async def main() -> None:
        with pytest.raises(EngineError, match="refused"):
            await part._together(slow(), fails())
        assert ended == ["slow"]

    asyncio.run(main())
