"""every minute → what nothing else wakes: images, videos, maintenance, notifications, usage, replies"""

from deeplens.bootstrap import schedule_handler
from deeplens.pipeline.fold_requests import FoldRequests
from deeplens.pipeline.resume import ResumeOverdue
from deeplens.pipeline.resume_videos import ResumeVideos
from deeplens.pipeline.rotate_keys import RotateSigningKeys
from deeplens.pipeline.settle_tenants import SettleTenants
from deeplens.pipeline.tell_operators import TellOperators
from deeplens.pipeline.tick_budgets import TickBudgets
from deeplens.pipeline.tick_maintenance import TickMaintenance
from deeplens.pipeline.tick_merges import TickMerges
from deeplens.pipeline.tick_rollouts import TickRollouts
from deeplens.pipeline.tick_uploads import TickUploads
from deeplens.pipeline.tick_usage import TickUsage
from deeplens.pipeline.tick_webhooks import TickWebhooks
from deeplens.pipeline.tick_whatsapp import TickWhatsApp

handler = schedule_handler(
    ResumeOverdue,
    ResumeVideos,
    TickRollouts,
    TickMaintenance,
    TickMerges,
    TickWebhooks,
    TickWhatsApp,
    TickUploads,
    RotateSigningKeys,
    SettleTenants,
    FoldRequests,
    TickUsage,
    TickBudgets,
    TellOperators,
)
