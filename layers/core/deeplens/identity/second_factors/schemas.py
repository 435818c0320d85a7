"""HTTP bodies of second factors and sign-in policies."""

from pydantic import Field

from deeplens.http.schemas import ApiModel, Request, example


class SignInPolicy(Request):
    model_config = example({"requireSecondFactor": True})

    require_second_factor: bool = Field(description="users without a second factor set one up when they sign in next")


class SecondFactorsView(ApiModel):
    model_config = example({"authenticator": True, "passkeys": 1, "recoveryCodes": 9})

    authenticator: bool = Field(description="an authenticator app is set up")
    passkeys: int
    recovery_codes: int = Field(description="how many are unused")
