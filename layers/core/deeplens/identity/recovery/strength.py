"""/account/password-strength: how hard a password is to guess, for the pages where people choose one."""

from collections.abc import Mapping

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from deeplens.http.dependencies import Injected
from deeplens.identity.forms import Browser
from deeplens.identity.languages import Message
from deeplens.identity.passwords import MAX_LENGTH, MIN_LENGTH, Strength, strength_of
from deeplens.identity.recovery.pages import field
from deeplens.identity.requests import Form

router = APIRouter(tags=["pages"], include_in_schema=False)
LEVELS: Mapping[Strength, tuple[int, Message]] = {
    "short": (1, Message("Too short: at least %(least)s characters.", {"least": MIN_LENGTH})),
    "long": (1, Message("Too long: at most %(most)s characters.", {"most": MAX_LENGTH})),
    "weak": (1, Message("Easy to guess. Add words that do not belong together.")),
    "fair": (2, Message("Hard to guess.")),
    "strong": (3, Message("Very hard to guess.")),
}


@router.post("/account/password-strength", response_model=None)
def rate(request: Request, browser: Injected[Browser], form: Form) -> JSONResponse:
    """The estimate that decides about the password when it is sent. Nothing is kept, and no body is logged."""
    if not browser.sent_form(request, form):
        return JSONResponse({}, 400)
    level, text = LEVELS[strength_of(field(form, "password"))]
    return JSONResponse({"level": level, "text": text.in_language(browser.language(request))})
