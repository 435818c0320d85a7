"""The search API as one ASGI application."""

from fastapi import FastAPI

from deeplens.api import (
    content,
    direct_uploads,
    duplicates,
    events,
    images,
    merges,
    receipts,
    search,
    store_events,
    usage,
    videos,
)
from deeplens.api.application import application
from deeplens.api.parts import ApiParts
from deeplens.api.quotas import RATE_LIMITED

DESCRIPTION = """Upload images and videos and find similar ones.

Every request carries a bearer token or `X-API-Key`; these decide the tenant. Errors are `application/problem+json`
(RFC 9457)."""
TAGS = [
    {"name": "images", "description": "Upload, follow, list, amend and delete images."},
    {"name": "videos", "description": "Upload, follow, list and delete videos; searches find their frames."},
    {"name": "uploads", "description": "Send large files to the store directly."},
    {"name": "search", "description": "Find images by similarity."},
    {"name": "events", "description": "What happened to images, stage by stage."},
    {"name": "duplicates", "description": "Review, decide and merge duplicates."},
    {"name": "usage", "description": "What you use, and how much you may."},
    {"name": "notifications", "description": "What stores of your own tell."},
    {"name": "service", "description": "About the API itself."},
]


def create_app(parts: ApiParts) -> FastAPI:
    """The search API over ``parts``; none of them is touched before a request needs it."""
    app = application(parts, "DeepLens", DESCRIPTION, TAGS, "/v1")
    modules = (images, receipts, content, videos, events, search, duplicates, merges, usage)
    for router in (*(module.router for module in modules), direct_uploads.checks, direct_uploads.router):
        app.include_router(router, responses=RATE_LIMITED)
    app.include_router(store_events.router)
    return app
