"""The search API as one ASGI application."""

from fastapi import FastAPI

from deeplens.duplicates import routes as duplicates
from deeplens.failures import routes as failures
from deeplens.http.application import AppContainer, application
from deeplens.http.rate import RATE_LIMITED
from deeplens.images import routes as images
from deeplens.search import routes as search
from deeplens.stores import event_routes as store_events
from deeplens.uploads import routes as uploads
from deeplens.usage import routes as usage
from deeplens.videos import routes as videos

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


def create_app(container: AppContainer) -> FastAPI:
    app = application(container, "DeepLens", DESCRIPTION, TAGS, "/v1", "search")
    for router in (
        uploads.forms,
        images.router,
        videos.router,
        images.timelines,
        search.router,
        duplicates.router,
        usage.router,
        failures.retry_router,
        uploads.checks,
        uploads.router,
    ):
        app.include_router(router, responses=RATE_LIMITED)
    app.include_router(store_events.router)
    return app
