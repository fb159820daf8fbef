"""From the bytes of an answer to a `Job`, against parsing the JSON alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from statistics import median
from time import process_time
from typing import Any, Final, cast

import orjson
from adapters.httpx2_pydantic import Answer
from payloads import PAYLOADS
from processes import CLIENT_CORE, settle
from sizes import Sizes
from turns import in_turns, ratios, spread

from asana_jobs import Job, Response


_OURS: Final = "bytes to Job"
_ORJSON: Final = "orjson.loads"
_TARGETS: Final = {"full": "target <= 8"}


def to_job(body: bytes) -> Job:
    """Read an answer as the client does."""
    answer = cast("dict[str, dict[str, object]]", Response(status=200, headers={}, body=body).json())
    return Job.from_dict(answer["data"])


def to_model(body: bytes) -> object:
    """Read an answer into a model of pydantic."""
    return Answer.model_validate_json(body).data


_WAYS: Final[dict[str, Callable[[bytes], Any]]] = {
    _OURS: to_job,
    _ORJSON: orjson.loads,
    "json.loads": json.loads,
    "bytes to pydantic model": to_model,
}


def measure(body: bytes, count: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of processor time of each way, round by round."""
    settle(CLIENT_CORE)

    def turn(name: str) -> float:
        way = _WAYS[name]
        began = process_time()
        for _ in range(count):
            way(body)
        return (process_time() - began) / count

    return in_turns(tuple(_WAYS), turn, rounds)


def decode(sizes: Sizes) -> None:
    """Print what reading an answer costs."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        for payload, body in PAYLOADS.items():
            taken = process.submit(partial(measure, body, sizes.decodes, sizes.rounds)).result()
            print(f"\n== decode: {payload} ({len(body)} bytes), in one process, in turns")
            for name, costs in taken.items():
                line = f"{name:26}{median(costs) * 1e6:9.2f} us"
                if name != _ORJSON:
                    line += f"   {spread(ratios(taken, name, _ORJSON)):26} times {_ORJSON}"
                if name == _OURS:
                    line += f"   {_TARGETS.get(payload, '')}"
                print(line)
