"""the delay queue → send again → the topic that the record failed on"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.failures.send_again import SendAgain

handler = pipeline_handler(SendAgain)
