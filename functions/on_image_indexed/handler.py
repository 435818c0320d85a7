"""deeplens.processing.completed → find duplicates → deeplens.duplicates.found"""

from deeplens.bootstrap import pipeline_handler
from deeplens.pipeline.detect_duplicates import DetectDuplicates

handler = pipeline_handler(DetectDuplicates)
