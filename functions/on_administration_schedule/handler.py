"""every minute → work with the secrets of administrators: creations and deletions of tenants, signing keys"""

from deeplens.bootstrap.handlers import schedule_handler
from deeplens.identity.signing_keys import RotateSigningKeys
from deeplens.provisioning.settle import SettleTenants

handler = schedule_handler(RotateSigningKeys, SettleTenants)
