"""deeplens.duplicates.found → group, merge, notify → deeplens.tenant.notifications"""

from deeplens.bootstrap.handlers import pipeline_handler
from deeplens.duplicates.record import RecordDuplicates

handler = pipeline_handler(RecordDuplicates)
