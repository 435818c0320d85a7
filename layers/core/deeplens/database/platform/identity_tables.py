"""Tables of signing in, in the schema ``nextgen_identity`` of the platform database."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from deeplens.database.platform.tables import Base

IDENTITY = "nextgen_identity"


class UserRow(Base):
    """Platform administrators have no tenant. ``email`` is in lower case."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(server_default="")
    password_hash: Mapped[str]
    roles: Mapped[list[str]]
    status: Mapped[str] = mapped_column(server_default="active")
    failed_sign_ins: Mapped[int] = mapped_column(server_default="0")
    locked_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = ({"schema": IDENTITY},)


class ClientRow(Base):
    """An OAuth client; without a secret it is public. Clients of the platform itself have no tenant."""

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    secret_sha256: Mapped[bytes | None]
    redirect_uris: Mapped[list[str]]
    post_logout_redirect_uris: Mapped[list[str]]
    grants: Mapped[list[str]]
    scopes: Mapped[list[str]]
    needs_consent: Mapped[bool] = mapped_column(server_default="true")
    status: Mapped[str] = mapped_column(server_default="active")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = ({"schema": IDENTITY},)


class AuthorizationCodeRow(Base):
    """Kept after use, so that a replay is noticed and ends the family it once began."""

    __tablename__ = "authorization_codes"

    code_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    family: Mapped[str]
    client_id: Mapped[str] = mapped_column(ForeignKey(f"{IDENTITY}.clients.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey(f"{IDENTITY}.users.id", ondelete="CASCADE"), index=True)
    session_id: Mapped[str]
    redirect_uri: Mapped[str]
    scopes: Mapped[list[str]]
    nonce: Mapped[str | None]
    code_challenge: Mapped[str]
    authenticated_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]

    __table_args__ = ({"schema": IDENTITY},)


class TokenFamilyRow(Base):
    """All tokens that one authorization code led to; revoked as one."""

    __tablename__ = "token_families"

    id: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey(f"{IDENTITY}.clients.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey(f"{IDENTITY}.users.id", ondelete="CASCADE"), index=True)
    session_id: Mapped[str]
    scopes: Mapped[list[str]]
    authenticated_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]

    __table_args__ = ({"schema": IDENTITY},)


class RefreshTokenRow(Base):
    """Each is spent once; a spent one that comes again revokes its family."""

    __tablename__ = "refresh_tokens"

    token_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    family: Mapped[str] = mapped_column(ForeignKey(f"{IDENTITY}.token_families.id", ondelete="CASCADE"), index=True)
    issued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    spent_at: Mapped[datetime | None]

    __table_args__ = ({"schema": IDENTITY},)


class SessionRow(Base):
    """A browser that somebody signed in with; the cookie holds the secret, ``id`` is public (``sid``)."""

    __tablename__ = "sessions"

    secret_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey(f"{IDENTITY}.users.id", ondelete="CASCADE"), index=True)
    authenticated_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = ({"schema": IDENTITY},)


class ConsentRow(Base):
    """What a user lets a client do without being asked again."""

    __tablename__ = "consents"

    user_id: Mapped[str] = mapped_column(ForeignKey(f"{IDENTITY}.users.id", ondelete="CASCADE"), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey(f"{IDENTITY}.clients.id", ondelete="CASCADE"), primary_key=True)
    scopes: Mapped[list[str]]
    granted_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = ({"schema": IDENTITY},)


class SigningKeyRow(Base):
    """The public half of a key; the private one is a secret named after ``kid``.

    ``lost_at`` is set when that secret is gone: the key verifies what it signed, but signs no more.
    """

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    public_jwk: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    signs_from: Mapped[datetime]
    lost_at: Mapped[datetime | None]

    __table_args__ = ({"schema": IDENTITY},)
