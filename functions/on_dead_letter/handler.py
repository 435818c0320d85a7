"""deeplens.processing.deadletter, the redrive queue → store_dead_letters"""

from deeplens.bootstrap import pipeline_handler
from deeplens.kafka.dead_letters import read_dead_letter
from deeplens.pipeline.store_dead_letters import StoreDeadLetters

handler = pipeline_handler(StoreDeadLetters, read_dead_letter)
