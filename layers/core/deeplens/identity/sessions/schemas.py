"""HTTP bodies of sessions and applications."""

from pydantic import AwareDatetime, Field

from deeplens.http.schemas import AT, ApiModel, example

SESSION = {
    "sessionId": "c2Vzc2lvbi0xMjM0",
    "authenticatedAt": AT,
    "lastSeenAt": AT,
    "device": "Firefox on Windows",
    "userAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "networkAddress": "203.0.113.7",
    "methods": ["pwd"],
}
APPLICATION = {
    "clientId": "cli_01kd1v8q4w2m6n9r5t7x3z0abc",
    "name": "Web console",
    "scopes": ["openid", "deeplens.api.read"],
    "since": AT,
    "connected": True,
}


class SessionView(ApiModel):
    model_config = example(SESSION)

    session_id: str
    authenticated_at: AwareDatetime
    last_seen_at: AwareDatetime
    device: str
    user_agent: str
    network_address: str
    methods: list[str] = Field(description="how the user signed in (RFC 8176)")


class SessionViews(ApiModel):
    model_config = example({"sessions": [SESSION]})

    sessions: list[SessionView]


class ApplicationView(ApiModel):
    model_config = example(APPLICATION)

    client_id: str
    name: str
    scopes: list[str]
    since: AwareDatetime
    connected: bool = Field(description="whether it can get tokens now without the user")


class ApplicationViews(ApiModel):
    model_config = example({"applications": [APPLICATION]})

    applications: list[ApplicationView]
