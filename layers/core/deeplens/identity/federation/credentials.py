"""The secrets with which DeepLens is a client of tenants' providers: in the secret store, never in a row."""

from deeplens.common.ports import SecretStore
from deeplens.identity.federation.model import secret_name


class ProviderSecrets:
    """One secret per tenant. Raises ``SecretStoreUnavailable``."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    def read(self, tenant_id: str) -> str:
        """Raises ``SecretNotFound``."""
        return self._store.get(secret_name(tenant_id))

    def replace(self, tenant_id: str, secret: str) -> None:
        self.delete(tenant_id)
        self._store.put(secret_name(tenant_id), secret)

    def delete(self, tenant_id: str) -> None:
        self._store.delete(secret_name(tenant_id))
