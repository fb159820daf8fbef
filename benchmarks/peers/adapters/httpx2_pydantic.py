"""httpx2 and models of pydantic, as a client generated today has them."""

from __future__ import annotations

import asyncio
from datetime import datetime

import httpx2
from pydantic import BaseModel

from adapters import TOKEN


class Compact(BaseModel):
    """What all compact objects have."""

    gid: str
    resource_type: str | None = None
    name: str | None = None
    resource_subtype: str | None = None


class Task(Compact):
    """A task."""

    created_by: Compact | None = None


class Export(BaseModel):
    """An export."""

    gid: str
    resource_type: str | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    download_url: str | None = None


class Progress(BaseModel):
    """How far a roll-up has come."""

    total_tasks: int | None = None
    updated_tasks: int | None = None


class Job(BaseModel):
    """A job."""

    gid: str
    status: str | None = None
    resource_type: str | None = None
    resource_subtype: str | None = None
    new_task: Task | None = None
    new_project: Compact | None = None
    new_portfolio: Compact | None = None
    new_project_template: Compact | None = None
    new_task_template: Compact | None = None
    new_graph_export: Export | None = None
    new_resource_export: Export | None = None
    dates_rollup_progress: Progress | None = None


class Answer(BaseModel):
    """The envelope."""

    data: Job


class Httpx2Pydantic:
    """A client with the pool it comes with, but for its patience: many waits queue for a connection."""

    _client: httpx2.AsyncClient
    _base_url: str
    _gap: float

    async def setup(self, base_url: str, gap: float) -> None:
        """Open a client."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self._client = httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=None)
        self._gap = gap

    async def get_job(self, gid: str) -> Job:
        """Read a job as a model."""
        answer = await self._client.get(f"/jobs/{gid}")
        answer.raise_for_status()
        return Answer.model_validate_json(answer.content).data

    async def wait(self, gid: str) -> Job:
        """Look again and again."""
        while True:
            job = await self.get_job(gid)
            if job.status in {"succeeded", "failed"}:
                return job
            await asyncio.sleep(self._gap)

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()
