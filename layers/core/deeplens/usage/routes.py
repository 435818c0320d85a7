"""/v1/usage: what the caller's tenant uses, and how much it may."""

from typing import Annotated

from fastapi import APIRouter, Query

from deeplens.access.caller import Reader
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.usage.read import ReadUsage
from deeplens.usage.schemas import Usage, UsageQuery

router = APIRouter(prefix="/v1/usage", tags=["usage"])


@router.get("", summary="Limits and usage", responses=responses())
def get_usage(caller: Reader, read: Injected[ReadUsage], query: Annotated[UsageQuery, Query()]) -> Usage:
    """What the tenant stores, its requests in this minute, and totals per day (UTC): 30 days, at most 366.

    A deleted image counts until its files are gone. Requests include those that were refused.
    """
    return read(caller.tenant, caller.limits, caller.requests, query)
