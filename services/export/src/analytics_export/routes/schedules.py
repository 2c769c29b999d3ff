"""`/analytics/v1/orgs/{orgId}/export-schedules`: exports that make themselves, a period after the other."""

from typing import Annotated, Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from litestar import Response, delete, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter

from analytics_core import clock
from analytics_core.access import Action, Decision, OrgScope
from analytics_core.database import ReadSession, WriteDatabase
from analytics_core.errors import Conflict, NotFound
from analytics_core.http.app import API_PREFIX
from analytics_core.http.problems import problem_responses
from analytics_export import schedules
from analytics_export.known_models import require_known_models
from analytics_export.limits import SCHEDULES_PER_ORG_MAX
from analytics_export.requests import bounded_subject
from analytics_export.routes.exports import BEARER, NOT_STORED
from analytics_export.schedule_requests import ChangeSchedule, CreateSchedule, changed, checked_plan, first_period
from analytics_export.schedule_responses import ExportSchedule, ExportScheduleList, schedule_answer, schedule_path
from analytics_export.schedules import Schedule
from analytics_export.scheduling import calendar_of
from analytics_export.settings import Settings

PATH = f"{API_PREFIX}/orgs/{{orgId:uuid}}/export-schedules"
_ONE = f"{PATH}/{{scheduleId:uuid}}"
ScheduleId = Annotated[UUID, PathParameter(name="scheduleId")]


@post(
    PATH,
    status_code=201,
    opt={"action": Action.EXPORTS_CREATE},
    operation_id="createExportSchedule",
    summary="Schedule exports",
    response_description="The schedule",
    response_headers=[ResponseHeader(name="Location", description="The schedule's path.", documentation_only=True)],
    tags=["export-schedules"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 409, 413, 422, 503),
)
async def create_export_schedule(
    data: JSONBody[CreateSchedule],
    org_scope: NamedDependency[OrgScope],
    decision: NamedDependency[Decision],
    settings: NamedDependency[Settings],
    database: NamedDependency[WriteDatabase],
) -> Response[ExportSchedule]:
    """Each period is exported once, when it is over and its numbers are final, as an export of its own.

    Objects are called `{prefix}/{orgId}/{YYYYMM}-{jobId}`, by the day or time for shorter periods. Periods that were
    missed are made up for.
    """
    now = clock.now()
    plan = checked_plan(data, settings, now)
    schedule_id, first = uuid4(), first_period(plan, data.start, now)
    subject = bounded_subject(decision.principal.subject)
    async with database.write(org_scope) as session:
        await require_known_models(session, org_scope, data.export, "export.")
        if not await schedules.create(session, org_scope, schedule_id, plan, first, subject):
            taken = any(each.plan.name == plan.name for each in await schedules.shown(session, org_scope))
            full = f"there are {SCHEDULES_PER_ORG_MAX} schedules already, which is the limit: delete one"
            raise Conflict(f"there is a schedule named {plan.name!r} already: change it" if taken else full)
        schedule = await _found(session, org_scope, schedule_id)
    headers = {**NOT_STORED, "Location": schedule_path(schedule.org_id, schedule_id)}
    return Response(schedule_answer(schedule, settings), status_code=201, headers=headers)


@get(
    PATH,
    opt={"action": Action.EXPORTS_READ},
    operation_id="listExportSchedules",
    summary="List schedules",
    response_description="The schedules",
    tags=["export-schedules"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 503),
)
async def list_export_schedules(
    org_scope: NamedDependency[OrgScope],
    settings: NamedDependency[Settings],
    database: NamedDependency[WriteDatabase],
) -> Response[ExportScheduleList]:
    """All of the organisation's, with their last and next run."""
    async with database.read(org_scope) as session:
        found = await schedules.shown(session, org_scope)
    items = [schedule_answer(schedule, settings) for schedule in found]
    return Response(ExportScheduleList(items=items), headers=NOT_STORED)


@get(
    _ONE,
    opt={"action": Action.EXPORTS_READ},
    operation_id="getExportSchedule",
    summary="Show a schedule",
    response_description="The schedule",
    tags=["export-schedules"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 503),
)
async def get_export_schedule(
    schedule_id: ScheduleId,
    org_scope: NamedDependency[OrgScope],
    settings: NamedDependency[Settings],
    database: NamedDependency[WriteDatabase],
) -> Response[ExportSchedule]:
    """With its last and next run."""
    async with database.read(org_scope) as session:
        schedule = await _found(session, org_scope, schedule_id)
    return Response(schedule_answer(schedule, settings), headers=NOT_STORED)


@patch(
    _ONE,
    opt={"action": Action.EXPORTS_CREATE},
    operation_id="changeExportSchedule",
    summary="Change a schedule",
    response_description="The schedule as it is now",
    tags=["export-schedules"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 409, 413, 422, 503),
)
async def change_export_schedule(
    schedule_id: ScheduleId,
    data: JSONBody[ChangeSchedule],
    org_scope: NamedDependency[OrgScope],
    decision: NamedDependency[Decision],
    settings: NamedDependency[Settings],
    database: NamedDependency[WriteDatabase],
) -> Response[ExportSchedule]:
    """Fields that are left out stay as they are. A schedule that is enabled again makes up for what it has missed.

    Its next exports are made in the caller's name: `{}` takes over a schedule whose owner has left.
    """
    subject = bounded_subject(decision.principal.subject)
    try:
        async with database.write(org_scope) as session:
            await schedules.lock(session, org_scope, schedule_id)
            schedule = await _found(session, org_scope, schedule_id)
            plan = checked_plan(changed(schedule.plan, data), settings, clock.now())
            # Those that stay were known when they were given.
            if data.export is not msgspec.UNSET:
                await require_known_models(session, org_scope, data.export, "export.")
            end = calendar_of(plan).after(schedule.next_period.start)
            await schedules.change(session, org_scope, schedule_id, plan, period_end=end, changed_by=subject)
            schedule = await _found(session, org_scope, schedule_id)
    except asyncpg.UniqueViolationError:
        raise Conflict(f"there is a schedule named {data.name!r} already") from None
    return Response(schedule_answer(schedule, settings), headers=NOT_STORED)


@delete(
    _ONE,
    status_code=204,
    opt={"action": Action.EXPORTS_CREATE},
    operation_id="deleteExportSchedule",
    summary="Delete a schedule",
    response_description="There is no such schedule any more",
    tags=["export-schedules"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 503),
)
async def delete_export_schedule(
    schedule_id: ScheduleId,
    org_scope: NamedDependency[OrgScope],
    decision: NamedDependency[Decision],
    database: NamedDependency[WriteDatabase],
) -> None:
    """The exports that it has made stay."""
    async with database.write(org_scope) as session:
        if not await schedules.delete(session, org_scope, schedule_id, bounded_subject(decision.principal.subject)):
            raise _missing(schedule_id)


async def _found(session: ReadSession, scope: OrgScope, schedule_id: UUID) -> Schedule:
    found = await schedules.shown(session, scope, schedule_id)
    if not found:
        raise _missing(schedule_id)
    return found[0]


def _missing(schedule_id: UUID) -> NotFound:
    return NotFound(f"there is no export schedule {schedule_id} in this organisation")


SCHEDULE_ROUTES: list[Any] = [
    create_export_schedule,
    list_export_schedules,
    get_export_schedule,
    change_export_schedule,
    delete_export_schedule,
]
