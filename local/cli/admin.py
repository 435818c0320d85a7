"""The Admin API for commands."""

import re
from typing import TYPE_CHECKING

from local.cli.container import current_container
from local.services import ServiceFailed

if TYPE_CHECKING:
    from local.operations.admin import AdminApi


ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def admin_api() -> "AdminApi":
    """The Admin API of the running stack, or of the environment's services."""
    container = current_container()
    from local.operations.admin import AdminApi  # not at the top, because importing the API takes a second

    return AdminApi(container)


def below(tenant: str) -> str:
    """The path of a tenant, or of the platform."""
    return f"/tenants/{in_path(tenant)}" if tenant else ""


def in_path(name: str) -> str:
    """An id as one segment of a path. Raises ``ServiceFailed`` for what is none and could lead elsewhere."""
    if not ID.fullmatch(name):
        raise ServiceFailed(f"{name} is no id. Ids have letters, digits, _ and -, e.g. tenant_demo.")
    return name
