"""The search API as one ASGI application."""

from fastapi import FastAPI

from deeplens.api import content, images, receipts, search, usage
from deeplens.api.application import application
from deeplens.api.parts import ApiParts
from deeplens.api.quotas import RATE_LIMITED

DESCRIPTION = """Upload images and find similar ones.

Every request carries a bearer token or `X-API-Key`; these decide the tenant. Errors are `application/problem+json`
(RFC 9457)."""
TAGS = [
    {"name": "images", "description": "Upload, follow, list, amend and delete images."},
    {"name": "search", "description": "Find images by similarity."},
    {"name": "usage", "description": "What you use, and how much you may."},
    {"name": "service", "description": "About the API itself."},
]


def create_app(parts: ApiParts) -> FastAPI:
    """The search API over ``parts``; none of them is touched before a request needs it."""
    app = application(parts, "DeepLens", DESCRIPTION, TAGS, "/v1")
    for router in (images.router, receipts.router, content.router, search.router, usage.router):
        app.include_router(router, responses=RATE_LIMITED)
    return app
