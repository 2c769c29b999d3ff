"""Who may call what: every route of every service with every kind of caller, from the routes that are really served."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar

from analytics_core.access import POLICY, Action, PlatformAction, Role
from analytics_core.audit import AuditEntry
from analytics_core.http.app import with_edge
from analytics_core.http.guards import AccessGuard
from analytics_core.http.identity import Authenticator, actor_signature
from analytics_core.lifecycle import Dependencies
from analytics_core.settings import AccessSettings
from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID
from analytics_export.wiring import build_http as build_export
from analytics_ingest.wiring import build_http_app as build_ingest
from analytics_query_api.wiring import build_http_app as build_query_api
from analytics_rollup.wiring import build_http_app as build_rollup
from tests.support.callers import JWT_SECRET, bearer

SIGNATURE_KEY = "the gateway's key for tests, 32 bytes"
ORGS = "/analytics/v1/orgs/{orgId}"
EXPORTS = f"{ORGS}/exports"
A, P = Action, PlatformAction

# A new route fails until it stands here with what it needs.
ROUTES: dict[str, dict[str, Action | PlatformAction]] = {
    "ingest": {
        "POST /analytics/v1/events": A.EVENTS_WRITE,
        "POST /analytics/v1/events/validate": A.EVENTS_WRITE,
        "GET /analytics/v1/dead-letters": P.DEAD_LETTERS_READ,
        "GET /analytics/v1/dead-letters/{deadLetterId}": P.DEAD_LETTERS_READ,
        "POST /analytics/v1/dead-letters/replay": P.DEAD_LETTERS_REPLAY,
    },
    "query-api": {
        f"GET {ORGS}/usage": A.USAGE_READ,
        f"GET {ORGS}/usage/stream": A.USAGE_READ,
        f"GET {ORGS}/reliability": A.RELIABILITY_READ,
        f"GET {ORGS}/reliability/errors": A.RELIABILITY_READ,
        f"GET {ORGS}/dimensions/{{dimension}}": A.USAGE_READ,
        f"GET {ORGS}/freshness": A.FRESHNESS_READ,
        f"GET {ORGS}/audit": A.AUDIT_READ,
        "GET /analytics/v1/usage": P.USAGE_READ,
        "GET /analytics/v1/audit": P.AUDIT_READ,
    },
    "export": {
        f"GET {EXPORTS}": A.EXPORTS_READ,
        f"POST {EXPORTS}": A.EXPORTS_CREATE,
        f"GET {EXPORTS}/{{jobId}}": A.EXPORTS_READ,
        f"DELETE {EXPORTS}/{{jobId}}": A.EXPORTS_CREATE,
        f"GET {EXPORTS}/{{jobId}}/download": A.EXPORTS_DOWNLOAD,
        f"GET {EXPORTS}/{{jobId}}/manifest": A.EXPORTS_READ,
        f"POST {EXPORTS}/{{jobId}}/verify": A.EXPORTS_READ,
        f"GET {EXPORTS}/{{jobId}}/events": A.EXPORTS_READ,
        f"GET {ORGS}/export-schedules": A.EXPORTS_READ,
        f"POST {ORGS}/export-schedules": A.EXPORTS_CREATE,
        f"GET {ORGS}/export-schedules/{{scheduleId}}": A.EXPORTS_READ,
        f"PATCH {ORGS}/export-schedules/{{scheduleId}}": A.EXPORTS_CREATE,
        f"DELETE {ORGS}/export-schedules/{{scheduleId}}": A.EXPORTS_CREATE,
        f"GET {ORGS}/export-webhook-secret": A.EXPORTS_CREATE,
    },
    "rollup": {},
}
PUBLIC = {
    "GET /analytics/v1/status/healthz", "GET /analytics/v1/status/readyz", "GET /metrics",
    "GET /openapi", "GET /openapi/openapi.json", "GET /openapi/{path}", "GET /analytics/v1/exports/templates",
}  # fmt: skip


class Trail:
    """What the database would get."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []

    async def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


def applications(guard: AccessGuard) -> dict[str, Litestar]:
    names = ("settings", "database", "store", "wakeups", "followers")
    return {
        "ingest": build_ingest(Dependencies({}), guard),
        "query-api": build_query_api(guard, Dependencies({}), None, None, None, None),
        "export": build_export(guard, Dependencies({}), dict.fromkeys(names)),
        "rollup": build_rollup(Dependencies({})),
    }


def guard_of(trail: Trail) -> AccessGuard:
    settings = AccessSettings(auth_jwt_secret=JWT_SECRET, actor_signature_secret=SIGNATURE_KEY)
    now = lambda: datetime.now(UTC)  # noqa: E731
    return AccessGuard(Authenticator(settings, now), trail, now)  # type: ignore[arg-type]


def served(app: Litestar) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every `METHOD path` with the options of its route."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                yield f"{method} {route.path_format}", handler.opt


def test_every_route_stands_in_the_table() -> None:
    """With its action, or as public."""
    for service, app in applications(guard_of(Trail())).items():
        protected = {route: opt["action"] for route, opt in served(app) if not opt.get("public")}
        public = {route for route, opt in served(app) if opt.get("public")}

        assert protected == ROUTES[service]
        assert public <= PUBLIC, service


@pytest.mark.parametrize("service", ROUTES)
async def test_options_names_every_method_of_a_path(service: str) -> None:
    """Also where several handlers share it."""
    app = applications(guard_of(Trail()))[service]
    methods: dict[str, set[str]] = {}
    for route, _ in served(app):
        method, path = route.split(" ")
        methods.setdefault(path, {"OPTIONS"}).add(method)
    transport = httpx.ASGITransport(with_edge(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        for path, expected in methods.items():
            answer = await client.options(filled(path))

            assert set(answer.headers["allow"].split(", ")) == expected, path


def test_the_policy_names_the_roles_of_every_action() -> None:
    """An action without an entry would be a KeyError in front of a user; a role of its own is never the platform's."""
    assert set(POLICY) == {*Action, *PlatformAction}
    for action, roles in POLICY.items():
        assert Role.ADMIN in roles
        assert (Role.ORG_ADMIN in roles) == isinstance(action, Action), action


def signed(method: str, path: str, **changes: str) -> dict[str, str]:
    """A gateway's headers, correct but for the changes made after signing."""
    values = {"subject": "mallory", "roles": "admin", "orgs": str(ORG_ID)}
    time = int(datetime.now(UTC).timestamp())
    digest = actor_signature(SIGNATURE_KEY, time, method, path, *values.values())
    headers = {f"X-Actor-{name.title()}": value for name, value in (values | changes).items()}
    return headers | {"X-Actor-Signature": f"t={time},v1={digest}"}


def filled(template: str) -> str:
    """A path that the route takes."""
    values = {"orgId": ORG_ID, "jobId": OTHER_ORG_ID, "scheduleId": ORG_ID, "deadLetterId": 1, "dimension": "model"}
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", str(value))
    return template


Headers = list[tuple[str, str]]
Caller = Callable[[str, str], dict[str, str] | Headers]
REFUSED: dict[str, Caller] = {
    "no identity": lambda _, __: {},
    "expired": lambda _, __: bearer("admin", exp=datetime.now(UTC) - timedelta(minutes=1)),
    "wrong key": lambda _, __: bearer("admin", key="another key for tests, of 32 bytes"),
    "two tokens": lambda _, __: [*bearer("admin").items(), *bearer("admin").items()],
    "unsigned": lambda _, __: {"X-Actor-Subject": "mallory", "X-Actor-Roles": "admin", "X-Actor-Orgs": str(ORG_ID)},
    "forged": lambda method, path: signed(method, path, subject="root"),
    "of another path": lambda method, path: signed(method, f"{path}/other"),
    "duplicated": lambda method, path: [*signed(method, path).items(), ("X-Actor-Roles", "admin")],
    # nginx and others turn `_` into `-` for some programs: here it names nothing.
    "underscore": lambda method, path: {name.replace("-", "_"): v for name, v in signed(method, path).items()},
}
EVERY_ROUTE = [(service, route) for service, routes in ROUTES.items() for route in routes]


class Matrix:
    """All services, each behind a guard whose trail is kept."""

    def __init__(self) -> None:
        self.trail = Trail()
        self._apps = applications(guard_of(self.trail))

    async def call(self, service: str, route: str, caller: Caller) -> tuple[int, AuditEntry]:
        """The answer's status, and the one record of the decision behind it."""
        method, template = route.split(" ")
        path = filled(template)
        transport = httpx.ASGITransport(with_edge(self._apps[service]), raise_app_exceptions=False)
        before = len(self.trail.entries)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            answer = await client.request(method, path, headers=caller(method, path))
        (entry,) = self.trail.entries[before:]
        return answer.status_code, entry


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return Matrix()


@pytest.mark.parametrize(("service", "route"), EVERY_ROUTE)
async def test_who_proves_nothing_is_let_in_nowhere(matrix: Matrix, service: str, route: str) -> None:
    """And each try is on record as nobody's."""
    for name, caller in REFUSED.items():
        status, entry = await matrix.call(service, route, caller)

        assert (name, status, entry.decision.allowed) == (name, 401, False)
        assert (name, entry.decision.principal.subject) == (name, "anonymous")


@pytest.mark.parametrize(("service", "route"), EVERY_ROUTE)
async def test_who_may_something_else_is_let_in_nowhere(matrix: Matrix, service: str, route: str) -> None:
    """All roles but the right ones, in the right organisation; and the right one in another organisation."""
    action = ROUTES[service][route]
    others = {role for roles in POLICY.values() for role in roles} - POLICY[action] - {Role.ADMIN.value}
    status, entry = await matrix.call(
        service, route, lambda _, __: bearer(*others, action.value.title(), orgs=[ORG_ID])
    )

    assert (status, entry.decision.allowed, entry.decision.reason) == (403, False, "missing-role")
    if "{orgId}" in route:
        right = POLICY[action] - {Role.ADMIN.value}
        status, entry = await matrix.call(service, route, lambda _, __: bearer(*right, orgs=[OTHER_ORG_ID]))
        assert (status, entry.decision.allowed, entry.decision.reason) == (404, False, "foreign-org")


@pytest.mark.parametrize(("service", "route"), EVERY_ROUTE)
async def test_each_right_role_alone_is_enough(matrix: Matrix, service: str, route: str) -> None:
    """Behind the guard there is nothing here, so what answers then is an error; the decision is what counts."""
    for role in POLICY[ROUTES[service][route]]:
        orgs = [] if role == Role.ADMIN else [ORG_ID]
        status, entry = await matrix.call(service, route, lambda _, __, r=role, o=orgs: bearer(r, orgs=o))  # type: ignore[misc]

        assert (role, entry.decision.allowed, status in {401, 403}) == (role, True, False)
        assert entry.decision.action == ROUTES[service][route]
        assert entry.decision.org_id == (ORG_ID if "{orgId}" in route else None)
