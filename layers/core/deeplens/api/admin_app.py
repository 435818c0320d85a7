"""The Admin API as one ASGI application; apart, so that no other function imports it."""

from fastapi import Depends, FastAPI

from deeplens.api import (
    admin_duplicates,
    admin_keys,
    admin_letters,
    admin_maintenance,
    admin_models,
    admin_people,
    admin_platform,
    admin_stores,
    admin_tenants,
    admin_usage,
    admin_webhooks,
    admin_whatsapp,
    budgets,
)
from deeplens.api.application import application
from deeplens.api.audited import audited
from deeplens.api.parts import AdminParts

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
    {"name": "models", "description": "Change a tenant's embedding model without downtime."},
    {"name": "service", "description": "About the API itself."},
]
ROUTERS = (
    admin_tenants.router,
    admin_duplicates.router,
    *admin_people.routers,
    admin_keys.router,
    admin_models.router,
    admin_letters.router,
    admin_maintenance.router,
    admin_webhooks.router,
    admin_usage.router,
    budgets.router,
    admin_whatsapp.router,
    admin_stores.router,
    admin_platform.router,
)


def create_admin_app(parts: AdminParts) -> FastAPI:
    """The Admin API over ``parts``; every write that it begins is in the audit log."""
    app = application(parts, "DeepLens Admin", DESCRIPTION, TAGS, "/v1/admin")
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(audited)])
    return app
