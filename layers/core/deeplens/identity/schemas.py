"""HTTP bodies of users and OAuth clients."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, SecretStr, StringConstraints

from deeplens.access.schemas import NEXT, ApiScope
from deeplens.http.schemas import AT, ApiModel, Name, Request, example

MAX_EMAIL_CHARS, EMAIL_PATTERN = 320, r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$"
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=MAX_EMAIL_CHARS, pattern=EMAIL_PATTERN),
]
Password = Annotated[SecretStr, Field(max_length=256, json_schema_extra={"minLength": 12})]
Role = Literal["platform_admin", "tenant_admin", "editor", "viewer"]
ClientScope = Literal["openid", "profile", "offline_access"] | ApiScope
Grant = Literal["authorization_code", "client_credentials", "refresh_token"]
RedirectUri = Annotated[
    str,
    StringConstraints(
        max_length=2000,
        pattern=r"^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]|[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:/)[^\s#*]*$",
    ),
]
Jwks = Annotated[dict[str, Any], Field(json_schema_extra={"required": ["keys"]})]
JwksUri = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s#]+$")]

USER = {
    "userId": "usr_01kd1v8q4w2m6n9r5t7x3z0abc",
    "email": "ada@example.com",
    "name": "Ada",
    "roles": ["editor"],
    "status": "active",
    "createdAt": AT,
}

CLIENT = {
    "clientId": "cli_01kd1v8q4w2m6n9r5t7x3z0abc",
    "name": "Web console",
    "confidential": True,
    "grants": ["authorization_code", "refresh_token"],
    "scopes": ["openid", "deeplens.api.read"],
    "redirectUris": ["https://console.example.com/callback"],
    "postLogoutRedirectUris": [],
    "needsConsent": True,
    "tokenEndpointAuthMethod": "client_secret_basic",
}

SIGNING_KEY = {
    "kid": "mJ0bV1Xq2c3d4e5f",
    "createdAt": AT,
    "signsFrom": AT,
    "signing": True,
    "lost": False,
    "revoked": False,
}


class UserRequest(Request):
    model_config = example({"email": "ada@example.com", "name": "Ada", "roles": ["editor"], "language": "en"})

    email: Email
    name: Name
    roles: list[Role] = Field(min_length=1, max_length=4)
    password: Password | None = Field(default=None, description="for operators; without it the person is invited")
    language: Literal["en", "de"] = Field(default="en", description="of the invitation")


class UserChange(Request):
    model_config = example({"roles": ["viewer"]})

    name: Name | None = None
    roles: Annotated[list[Role], Field(min_length=1, max_length=4)] | None = None
    password: Password | None = None
    status: Literal["active", "disabled"] | None = Field(default=None, description="a disabled user is signed out")


class EmailChangeRequest(Request):
    model_config = example({"email": "ada.lovelace@example.com", "language": "en"})

    email: Email
    language: Literal["en", "de"] = Field(default="en", description="of the mails")


class UserView(ApiModel):
    model_config = example(USER)

    user_id: str
    email: str
    name: str
    roles: list[str]
    status: Literal["active", "disabled", "invited"]
    created_at: AwareDatetime


class Users(ApiModel):
    model_config = example({"users": [USER]})

    users: list[UserView]
    next: str | None = NEXT


class ClientRequest(Request):
    model_config = example({"name": "Importer", "grants": ["client_credentials"], "scopes": ["deeplens.api.write"]})

    name: Name
    grants: list[Grant] = Field(min_length=1, max_length=3)
    scopes: list[ClientScope] = Field(min_length=1, max_length=6)
    confidential: bool = Field(default=True, description="with a secret; a browser or phone app has none")
    redirect_uris: list[RedirectUri] = Field(
        default=[], max_length=20, description="compared as they are; at 127.0.0.1 and [::1] with any port"
    )
    post_logout_redirect_uris: list[RedirectUri] = Field(default=[], max_length=20)
    needs_consent: bool = True
    token_endpoint_auth_method: Literal["client_secret_basic", "private_key_jwt", "none"] | None = Field(
        default=None, description="by default none without a secret, private_key_jwt with keys, else a secret"
    )
    jwks: Jwks | None = Field(default=None, description="public keys for private_key_jwt")
    jwks_uri: JwksUri | None = Field(default=None, description="or where they are; https only")


class ClientKeysRequest(Request):
    model_config = example({"jwksUri": "https://client.example.com/jwks.json"})

    jwks: Jwks | None = None
    jwks_uri: JwksUri | None = None


class ClientView(ApiModel):
    model_config = example(CLIENT)

    client_id: str
    name: str
    confidential: bool
    grants: list[str]
    scopes: list[str]
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    needs_consent: bool
    token_endpoint_auth_method: str


class NewClientView(ClientView):
    model_config = example({**CLIENT, "clientSecret": "…"})

    client_secret: str | None = Field(default=None, description="shown this once; null of a client without secret")


class Clients(ApiModel):
    model_config = example({"clients": [CLIENT]})

    clients: list[ClientView]
    next: str | None = NEXT


class SigningKeyView(ApiModel):
    model_config = example(SIGNING_KEY)

    kid: str
    created_at: AwareDatetime
    signs_from: AwareDatetime
    signing: bool
    lost: bool = Field(description="its private half is missing; its tokens remain valid")
    revoked: bool


class SigningKeyViews(ApiModel):
    model_config = example({"keys": [SIGNING_KEY]})

    keys: list[SigningKeyView]
