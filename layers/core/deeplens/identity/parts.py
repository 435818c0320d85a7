"""What the identity API needs of the world, and how a request reaches it."""

from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from deeplens.access.bearer import BearerTokens
from deeplens.common.ports import Clock
from deeplens.identity.postgres_clients import PostgresClients
from deeplens.identity.postgres_grants import PostgresGrants
from deeplens.identity.postgres_users import PostgresUsers
from deeplens.identity.signing_keys import SigningKeys
from deeplens.settings import Settings


class IdentityParts(Protocol):
    """Built by ``bootstrap``; each part when first used."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def clients(self) -> PostgresClients: ...
    @property
    def users(self) -> PostgresUsers: ...
    @property
    def grants(self) -> PostgresGrants: ...
    @property
    def signing_keys(self) -> SigningKeys: ...
    @property
    def own_tokens(self) -> BearerTokens: ...


def parts_of(request: Request) -> IdentityParts:
    return cast("IdentityParts", request.app.state.container)


Parts = Annotated[IdentityParts, Depends(parts_of)]
