"""every minute → resume → deeplens.images.uploaded"""

from deeplens.bootstrap import schedule_handler
from deeplens.pipeline.resume import ResumeOverdue

handler = schedule_handler(ResumeOverdue, "resume")
