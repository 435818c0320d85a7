"""A user's sessions and applications in the Admin API: a tenant's users, and the platform's own below /v1/admin."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends

from deeplens.common.ports import Clock
from deeplens.http.dependencies import Injected
from deeplens.http.problems import responses
from deeplens.http.schemas import view
from deeplens.identity.owners import OWNERS, Owner, require
from deeplens.identity.sessions.ports import Sessions
from deeplens.identity.sessions.schemas import ApplicationView, ApplicationViews, SessionView, SessionViews


def sessions_router(prefix: str, owner_of: Callable[..., Owner]) -> APIRouter:
    """Routes about the sessions of one owner's users. Ending them only takes access away."""
    router = APIRouter(prefix=f"{prefix}/users/{{user_id}}/sessions", tags=["users"], responses=responses(404))
    InPath = Annotated[Owner, Depends(owner_of)]

    @router.get("", summary="A user's sessions")
    def list_sessions(
        owner: InPath, sessions: Injected[Sessions], clock: Injected[Clock], user_id: str
    ) -> SessionViews:
        """Browsers in which the user is signed in, the newest sign-in first."""
        found = require(sessions.of_user(owner.id, user_id, clock.now()), "user", user_id)
        views = [view(SessionView, session, session_id=session.id, device=session.device) for session in found]
        return SessionViews(sessions=views)

    @router.delete("", status_code=204, summary="End all sessions of a user")
    def end_all_sessions(owner: InPath, sessions: Injected[Sessions], clock: Injected[Clock], user_id: str) -> None:
        """Applications cannot refresh their tokens either; access tokens end after 15 minutes at most."""
        require(sessions.end_all(owner.id, user_id, clock.now()) or None, "user", user_id)

    @router.delete("/{session_id}", status_code=204, summary="End a session of a user")
    def end_session(
        owner: InPath, sessions: Injected[Sessions], clock: Injected[Clock], user_id: str, session_id: str
    ) -> None:
        """Applications that it let in cannot refresh their tokens; access tokens end after 15 minutes at most."""
        require(sessions.end(owner.id, user_id, session_id, clock.now()) or None, "session", session_id)

    return router


def applications_router(prefix: str, owner_of: Callable[..., Owner]) -> APIRouter:
    """Routes about the applications with access to the accounts of one owner's users."""
    router = APIRouter(prefix=f"{prefix}/users/{{user_id}}/applications", tags=["users"], responses=responses(404))
    InPath = Annotated[Owner, Depends(owner_of)]

    @router.get("", summary="Applications with access to a user's account")
    def list_applications(
        owner: InPath, sessions: Injected[Sessions], clock: Injected[Clock], user_id: str
    ) -> ApplicationViews:
        """Clients that the user consented to, or that have tokens of the user; by name."""
        found = require(sessions.applications(owner.id, user_id, clock.now()), "user", user_id)
        return ApplicationViews(applications=[view(ApplicationView, application) for application in found])

    @router.delete("/{client_id}", status_code=204, summary="Take an application's access away")
    def withdraw_access(
        owner: InPath, sessions: Injected[Sessions], clock: Injected[Clock], user_id: str, client_id: str
    ) -> None:
        """Ends the user's consent and the client's tokens for the user."""
        require(sessions.withdraw(owner.id, user_id, client_id, clock.now()) or None, "application", client_id)

    return router


routers = [make(prefix, owner_of) for prefix, owner_of, _ in OWNERS for make in (sessions_router, applications_router)]
