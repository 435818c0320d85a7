"""deeplens.tenant.usage → meter"""

from deeplens.bootstrap import pipeline_handler
from deeplens.pipeline.meter import Meter

handler = pipeline_handler(Meter)
