"""deeplens.processing.completed → complete → deeplens.tenant.usage"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.pipeline.complete import Complete

handler = pipeline_handler(Complete)
