"""every minute → resume, rollouts, requests → deeplens.images.uploaded, deeplens.images.maintenance"""

from deeplens.bootstrap import schedule_handler
from deeplens.pipeline.fold_requests import FoldRequests
from deeplens.pipeline.resume import ResumeOverdue
from deeplens.pipeline.tick_rollouts import TickRollouts

handler = schedule_handler(ResumeOverdue, TickRollouts, FoldRequests)
