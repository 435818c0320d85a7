"""deeplens.tenant.usage → meter"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.usage.meter import Meter

handler = pipeline_handler(Meter)
