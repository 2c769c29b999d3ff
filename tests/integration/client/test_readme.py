"""The README's example, run as it is printed."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from analytics_core.testing.builders import ORG_ID
from tests.support.stack import RabbitMq
from tests.support.streams import Stream

README = Path(__file__).parents[3] / "libs" / "analytics_client" / "README.md"


def _first_example() -> str:
    return README.read_text().partition("```python\n")[2].partition("```")[0]


async def test_the_example_publishes_an_event(make_rabbitmq: Callable[[], RabbitMq]) -> None:
    """The first thing that a user tries has to work, and to stay short."""
    stream = await Stream(make_rabbitmq(), "analytics.usage.v1").create()
    example = _first_example()

    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", example],
        env=os.environ | {"RABBITMQ_STREAM_URL": stream.rabbitmq.stream_url, "ORG_ID": str(ORG_ID)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    [body] = await stream.bodies(1)
    assert json.loads(body)["orgId"] == str(ORG_ID)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
