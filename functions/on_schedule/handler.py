"""every minute → what nothing else wakes → images. and videos.uploaded, images.maintenance, tenant.notifications"""

from deeplens.bootstrap import schedule_handler
from deeplens.pipeline.fold_requests import FoldRequests
from deeplens.pipeline.resume import ResumeOverdue
from deeplens.pipeline.resume_videos import ResumeVideos
from deeplens.pipeline.rotate_keys import RotateSigningKeys
from deeplens.pipeline.settle_tenants import SettleTenants
from deeplens.pipeline.tick_maintenance import TickMaintenance
from deeplens.pipeline.tick_rollouts import TickRollouts
from deeplens.pipeline.tick_webhooks import TickWebhooks

handler = schedule_handler(
    ResumeOverdue,
    ResumeVideos,
    TickRollouts,
    TickMaintenance,
    TickWebhooks,
    RotateSigningKeys,
    SettleTenants,
    FoldRequests,
)
