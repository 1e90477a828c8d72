"""The application: routes, and their parts put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any

from pytest_llmcompiler import __version__
from pytest_llmcompiler.service.http.admission import Admission
from pytest_llmcompiler.service.http.bodies import build_schemas, read_judge_body
from pytest_llmcompiler.service.http.endpoint import FaceEndpoint
from pytest_llmcompiler.service.http.faces import Face
from pytest_llmcompiler.service.http.gate import Gate
from pytest_llmcompiler.service.http.limits import ServiceLimits
from pytest_llmcompiler.service.http.metrics import ServiceMetrics
from pytest_llmcompiler.service.judge import Judge

JUDGE_FACE = Face("/judge", read_judge_body, can_stream=True)
"""The server's own shape of requests and answers."""
_NOTHING: Mapping[str, object] = MappingProxyType({})


class JudgeApplication:
    """The ASGI application of one server.

    `faces` are routes besides `/judge`, `constants` are what is answered to a GET of other paths.
    """

    def __init__(
        self,
        judge: Judge,
        limits: ServiceLimits,
        token: str | None,
        faces: Sequence[Face] = (),
        constants: Mapping[str, object] = _NOTHING,
    ) -> None:
        from starlette.applications import Starlette

        self._judge = judge
        self.on_start: Callable[[], object] = lambda: None
        """Called in the event loop, before the first request."""
        self.admission = Admission(limits.queue)
        self.metrics = ServiceMetrics(self.admission, judge.workers)
        routes = [*self._build_posts((JUDGE_FACE, *faces), limits), *self._build_gets(constants)]
        application = Starlette(routes=routes, lifespan=self._live)
        self.gate = Gate(application, token, limits, self.metrics, [route.path for route in routes])

    def _build_posts(self, faces: Sequence[Face], limits: ServiceLimits) -> list[Any]:
        from starlette.routing import Route

        parts = self._judge, limits, self.admission, self.metrics
        return [Route(face.path, FaceEndpoint(face, *parts), methods=["POST"]) for face in faces]

    def _build_gets(self, constants: Mapping[str, object]) -> list[Any]:
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        async def show_constant(request: Any) -> Any:
            return JSONResponse(constants[request.url.path])

        return [
            Route("/health", self._show_health),
            Route("/metrics", self._show_metrics),
            Route("/schema", self._show_schema),
            *(Route(path, show_constant) for path in constants),
        ]

    def _live(self, _: Any) -> AbstractAsyncContextManager[None]:
        @asynccontextmanager
        async def live() -> AsyncIterator[None]:
            self.on_start()
            yield

        return live()

    async def _show_health(self, _: Any) -> Any:
        """200 while the server takes work, 503 when it ends."""
        from starlette.responses import JSONResponse

        is_closing = self.admission.is_closing
        content = {"status": "closing" if is_closing else "ok", "version": __version__}
        return JSONResponse(content, status_code=503 if is_closing else 200)

    async def _show_metrics(self, _: Any) -> Any:
        from starlette.responses import Response

        text, media_type = self.metrics.format()
        return Response(text, headers={"content-type": media_type})

    async def _show_schema(self, _: Any) -> Any:
        from starlette.responses import JSONResponse

        return JSONResponse(build_schemas())
