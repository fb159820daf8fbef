"""A bulk run in a process of its own, to be killed: what a user's program on a shared budget looks like."""

import argparse
import asyncio
import sys

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.operations import DuplicateProject
from asana_jobs.worker import RedisGate, _budget_protocol


async def main() -> None:
    """Start as many jobs as the command line says, and print a line for each that has succeeded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("budget")
    parser.add_argument("base_url")
    parser.add_argument("name")
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    _budget_protocol.PLACE_SECONDS = 3.0  # type: ignore[misc]  # so that a test need not wait for a minute
    limits = RateLimits.paid()
    async with (
        RedisGate(options.url, budget=options.budget, limits=limits) as gate,
        AsanaClient("test-token", base_url=options.base_url, limits=limits, gate=gate) as asana,
    ):
        copies = [
            DuplicateProject("1203", name=f"{options.name} {number}") for number in range(options.count)
        ]
        async for outcome in asana.run_all(copies):
            assert outcome.error is None, outcome.error
            sys.stdout.write(f"{outcome.operation.to_dict()['name']}\n")


if __name__ == "__main__":
    asyncio.run(main())
