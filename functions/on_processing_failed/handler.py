"""deeplens.processing.failed → fail → the delay queue, or deeplens.processing.deadletter"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.failures.fail import Fail

handler = pipeline_handler(Fail)
