"""The Admin API as one ASGI application; apart, so that no other function imports it."""

from fastapi import Depends, FastAPI

from deeplens.access import key_routes as admin_keys
from deeplens.access.audited import audited
from deeplens.access.step_up import step_up
from deeplens.bootstrap import platform_routes as admin_platform
from deeplens.duplicates import routes as duplicates
from deeplens.failures import routes as admin_letters
from deeplens.http.application import AppContainer, application
from deeplens.identity import people_routes as admin_people
from deeplens.identity import signing_key_routes as admin_signing_keys
from deeplens.identity.federation import admin_routes as admin_federation
from deeplens.identity.recovery import email_routes as admin_emails
from deeplens.identity.second_factors import routes as second_factors
from deeplens.identity.sessions import admin_routes as admin_sessions
from deeplens.maintenance import routes as admin_maintenance
from deeplens.provisioning import routes as admin_tenants
from deeplens.rollouts import routes as admin_models
from deeplens.stores import routes as admin_stores
from deeplens.traces import routes as admin_traces
from deeplens.usage import routes as usage
from deeplens.webhooks import routes as admin_webhooks
from deeplens.whatsapp import routes as admin_whatsapp

DESCRIPTION = """Look after tenants.

Every request carries a bearer token or `X-API-Key` with the scope `deeplens.api.admin`: an operator's reaches every
tenant, a tenant's own only itself. Errors are `application/problem+json` (RFC 9457)."""
TAGS = [
    {"name": "tenants", "description": "Create, suspend, delete."},
    {"name": "users", "description": "Who signs in, and their roles."},
    {"name": "keys", "description": "API keys of a tenant."},
    {"name": "clients", "description": "OAuth clients."},
    {"name": "dead letters", "description": "What was given up: find it, send it again, discard it."},
    {"name": "platform", "description": "What happened, and what answers."},
    {"name": "maintenance", "description": "Sweeps over what a tenant has, and their reports."},
    {"name": "webhooks", "description": "Endpoints that are told what happens, and what was sent to them."},
    {"name": "usage", "description": "What tenants used, to look at and to bill; budgets."},
    {"name": "whatsapp", "description": "Chats that belong to a tenant, and rules for their messages."},
    {"name": "stores", "description": "Where a tenant keeps its own objects."},
    {"name": "traces", "description": "Where the time of an image went."},
    {"name": "models", "description": "Change a tenant's embedding model without downtime."},
    {"name": "service", "description": "About the API itself."},
]
ROUTERS = (
    admin_tenants.router,
    duplicates.policy_router,
    *admin_people.routers,
    *admin_emails.routers,
    *second_factors.routers,
    *admin_sessions.routers,
    admin_keys.router,
    admin_models.router,
    admin_letters.router,
    admin_maintenance.router,
    admin_webhooks.router,
    usage.admin_router,
    admin_whatsapp.router,
    admin_stores.router,
    admin_traces.router,
    admin_platform.router,
    admin_signing_keys.router,
    admin_federation.router,
)


def create_admin_app(container: AppContainer) -> FastAPI:
    """The Admin API, whose writes are recorded in the audit log, and whose dangerous routes need a strong sign-in."""
    app = application(container, "DeepLens Admin", DESCRIPTION, TAGS, "/v1/admin", "admin")
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(audited), Depends(step_up)])
    return app
