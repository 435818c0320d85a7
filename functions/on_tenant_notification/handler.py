"""deeplens.tenant.notifications → notify"""

from deeplens.bootstrap import pipeline_handler
from deeplens.pipeline.notify import Notify

handler = pipeline_handler(Notify)
