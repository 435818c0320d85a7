"""Split the environment of the stack among its functions, as the deployment does with its secrets."""

from collections.abc import Mapping

from deeplens.database.credentials import password_of, with_credentials
from deeplens.database.platform_roles import credentials_of

from local.checks.grants import ALL_SECRET_VARIABLES, GRANTS, ROLE_SECRETS, secret_variables_of


def role_urls(admin_url: str, key: str) -> str:
    """The platform database with the credentials of each role, whose passwords follow from a key; for migrations."""
    return " ".join(with_credentials(admin_url, role, password_of(role, key)) for role in ROLE_SECRETS)


def environment_of(function: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a function gets: addresses, the URL of its database role, and the secrets of its grant.

    Parameters
    ----------
    environment : what tools get; its ``DATABASE_URL`` is the administrator's, ``DATABASE_ROLE_URLS`` are the roles'.
    """
    granted = GRANTS[function]
    urls = {credentials_of(url)[0]: url for url in environment.get("DATABASE_ROLE_URLS", "").split()}
    secrets = {**environment, "DATABASE_ADMIN_URL": environment.get("DATABASE_URL", "")}
    secrets["DATABASE_URL"] = urls.get(granted.database or "", "")
    allowed = secret_variables_of(function)
    return {
        **{name: value for name, value in environment.items() if name not in ALL_SECRET_VARIABLES},
        **{name: secrets[name] for name in allowed if name in secrets},
    }
