"""`config.acls` applied to a plan: only targets that this client may use stay candidates."""

from __future__ import annotations

from ..balancer.access import Subject, permits
from ..config.models import Target
from ..core.errors import ApiError
from .plan import Plan
from .tickets import Ticket


def restrict(plan: Plan, ticket: Ticket) -> None:
    """Take out the candidates that the access rules forbid, in place. Raises ApiError (403) if none is
    left."""
    acls = plan.instance.acls
    if acls is None:
        return
    headers = dict(plan.request.headers)
    for name, value in ticket.headers.items():
        # Plugins after ours may have changed it; the client may have had it taken away.
        now = headers.get(name)
        headers[name] = value if now in (None, value) else f"{now}, {value}"
    subject = Subject(
        consumer=ticket.consumer,
        consumer_groups=ticket.consumer_groups,
        headers=headers,
        # Kong sets it to the address it takes for the client's, whatever the client sent
        # (kong/templates/nginx_kong.lua at 3.9.3).
        ip=headers.get("x-real-ip", ""),
        # Not `x-forwarded-path`: behind a trusted proxy that is what the client says
        # (kong/runloop/handler.lua at 3.9.3, access.before).
        path=plan.request.path if ticket.path is None else ticket.path,
    )
    targets = plan.instance.targets

    def allows(target: Target, model: str) -> bool:
        own = target.model
        return permits(acls, subject, own.provider, (model, own.name or "", own.model_alias or ""))

    plan.permits = allows
    allowed = []
    for index in plan.candidates:
        model = targets[index].model
        names = (plan.model, plan.resolved[index].name, model.model_alias or "")
        if permits(acls, subject, model.provider, names):
            allowed.append(index)
    if not allowed:
        raise ApiError(403, "access to this model is denied", code="access_denied")
    plan.candidates = allowed
