"""deeplens.images.maintenance → maintain"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.maintenance.maintain import Maintain

handler = pipeline_handler(Maintain)
