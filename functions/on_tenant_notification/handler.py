"""deeplens.tenant.notifications → notify"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.webhooks.notify import Notify

handler = pipeline_handler(Notify)
