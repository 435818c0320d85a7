"""deeplens.images.maintenance → maintain"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.pipeline.maintain import Maintain

handler = pipeline_handler(Maintain)
