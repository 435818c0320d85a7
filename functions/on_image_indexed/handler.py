"""deeplens.processing.completed → find duplicates → deeplens.duplicates.found"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.duplicates.detect import DetectDuplicates

handler = pipeline_handler(DetectDuplicates)
