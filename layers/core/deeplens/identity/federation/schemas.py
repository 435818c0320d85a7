"""HTTP bodies of a tenant's identity provider."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from deeplens.http.schemas import ApiModel, Name, Request, example
from deeplens.identity.federation.model import DOMAIN

IssuerUrl = Annotated[str, StringConstraints(max_length=500, pattern=r"^https?://[^\s?#]*[^\s?#/]$")]
Claim = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
DomainName = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=253)]
TenantRole = Literal["tenant_admin", "editor", "viewer"]

PROVIDER = {
    "issuer": "https://login.example.com",
    "clientId": "deeplens",
    "emailClaim": "email",
    "nameClaim": "name",
    "rolesClaim": "groups",
    "roles": {"image-admins": "tenant_admin"},
    "defaultRole": "viewer",
    "federationOnly": False,
}
DOMAINS = [
    {
        "domain": "example.com",
        "verified": False,
        "txtName": "_deeplens-challenge.example.com",
        "txtValue": "deeplens-verification=…",
    }
]


class IdentityProviderRequest(Request):
    model_config = example({**PROVIDER, "clientSecret": "…", "domains": ["example.com"]})

    issuer: IssuerUrl = Field(description="discovery is at issuer/.well-known/openid-configuration; https only")
    client_id: Name
    client_secret: Annotated[SecretStr, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="kept in the secret store; without it the one from before stays"
    )
    email_claim: Claim = "email"
    name_claim: Claim = "name"
    roles_claim: Claim | None = Field(default=None, description="without it users keep the roles of their account")
    roles: dict[Claim, TenantRole] = Field(default={}, max_length=100, description="roles by values of rolesClaim")
    default_role: TenantRole = "viewer"
    domains: list[DomainName] = Field(min_length=1, max_length=20, json_schema_extra={"pattern": DOMAIN.pattern})
    federation_only: bool = Field(default=False, description="refuse passwords for the verified domains")


class DomainView(ApiModel):
    domain: str
    verified: bool
    txt_name: str = Field(description="the name of the TXT record that proves that you control the domain")
    txt_value: str


class IdentityProviderView(ApiModel):
    model_config = example(
        {**PROVIDER, "redirectUri": "https://id.example.com/account/federation/callback", "domains": DOMAINS}
    )

    issuer: str
    client_id: str
    email_claim: str
    name_claim: str
    roles_claim: str | None
    roles: dict[str, str]
    default_role: str
    federation_only: bool
    redirect_uri: str = Field(description="register it at the provider")
    domains: list[DomainView]
