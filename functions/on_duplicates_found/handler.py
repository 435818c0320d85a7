"""deeplens.duplicates.found → group, merge, tell → deeplens.tenant.notifications"""

from deeplens.bootstrap import pipeline_handler
from deeplens.pipeline.record_duplicates import RecordDuplicates

handler = pipeline_handler(RecordDuplicates)
