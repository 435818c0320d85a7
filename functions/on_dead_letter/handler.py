"""deeplens.processing.deadletter, the redrive queue → store dead letters"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.failures.store import StoreDeadLetters, read_dead_letter

handler = pipeline_handler(StoreDeadLetters, read_dead_letter)
