"""deeplens.processing.failed → fail → the delay queue, or deeplens.processing.deadletter"""

from deeplens.bootstrap import pipeline_handler
from deeplens.pipeline.fail import Fail

handler = pipeline_handler(Fail)
