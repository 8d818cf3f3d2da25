"""``/healthz`` and ``/readyz`` with named checks, as in controller-runtime.

Each check has a path of its own (``/readyz/caches``); ``?exclude=`` skips one, ``?verbose`` lists them. A failure is a 500
that lists the checks without their reasons, which are logged.
"""

import inspect
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

Check = Callable[[], Awaitable[None] | None]
"""Raises where the process is unhealthy."""

logger = structlog.get_logger("healthz")


def ping() -> None:
    """Succeeds: the process answers, so its event loop runs."""


class HealthChecks:
    """The checks of one path."""

    def __init__(self, path: str) -> None:
        """`path` such as ``/healthz``."""
        self.path = path
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Add a check.

        Raises:
            ValueError: a check of that name exists.
        """
        if name in self._checks:
            raise ValueError(f"{self.path} already has a check named {name}")
        self._checks[name] = check

    def routes(self) -> list[web.RouteDef]:
        """The routes; without checks they serve a ping."""
        if not self._checks:
            self._checks["ping"] = ping
        return [web.get(self.path, self._all), web.get(f"{self.path}/{{name}}", self._one)]

    async def _all(self, request: web.Request) -> web.Response:
        excluded = set(request.query.getall("exclude", []))
        selected = {name: x for name, x in self._checks.items() if name not in excluded}
        lines, failed = [], False
        for name, check in selected.items():
            good = await self._passes(name, check)
            failed = failed or not good
            lines.append(f"[+]{name} ok" if good else f"[-]{name} failed: reason withheld")
        lines += [f"[+]{name} excluded: ok" for name in sorted(excluded & self._checks.keys())]
        kind = self.path.strip("/")
        if failed:
            text = "\n".join([*lines, f"{kind} check failed", ""])
            return web.Response(status=500, text=text)
        if "verbose" in request.query:
            return web.Response(text="\n".join([*lines, f"{kind} check passed", ""]))
        return web.Response(text="ok")

    async def _one(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        check = self._checks.get(name)
        if check is None:
            return web.Response(status=404, text=f"check {name} does not exist\n")
        if await self._passes(name, check):
            return web.Response(text="ok")
        return web.Response(status=500, text=f"{name} failed: reason withheld\n")

    async def _passes(self, name: str, check: Check) -> bool:
        try:
            result = check()
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            logger.info("Health check failed", path=self.path, check=name, error=str(error))
            return False
        return True
