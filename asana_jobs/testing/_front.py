"""The API's origin: which of its handlers answers which path."""

from typing import TYPE_CHECKING

from aiohttp import web
from attrs import define

from asana_jobs.testing._answers import no_route
from asana_jobs.testing._oauth import REVOKE_PATH, TOKEN_PATH, OAuth
from asana_jobs.testing._openapi import openapi_document
from asana_jobs.testing._page import status_page
from asana_jobs.testing._routes import API_ROOT
from asana_jobs.testing._sending import Sender
from asana_jobs.testing._wire import Wire


if TYPE_CHECKING:
    from asana_jobs.testing._simulator import AsanaSimulator


@define
class Front:
    """Answers every request to the API's origin."""

    simulator: "AsanaSimulator"
    wire: Wire
    oauth: OAuth
    sender: Sender

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.path
        if path == API_ROOT or path.startswith(f"{API_ROOT}/"):
            return await self.wire.answer(request, path.removeprefix(API_ROOT) or "/")
        if path in {TOKEN_PATH, REVOKE_PATH}:
            return await self.oauth.answer(request)
        if request.method == "GET" and path == "/":
            return web.Response(text=status_page(self.simulator), content_type="text/html")
        if request.method == "GET" and path == "/openapi.json":
            return web.json_response(openapi_document(self.simulator.base_url))
        return await self.sender.send(request, self.sender.error(no_route()), None)
