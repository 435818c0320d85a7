"""every minute → work that no event starts: overdue images, maintenance, notifications, usage, replies, gauges"""

from deeplens.access.purge_audit import PurgeAudit
from deeplens.alerts.model import SendAlerts
from deeplens.bootstrap.handlers import schedule_handler
from deeplens.duplicates.merge import TickMerges
from deeplens.identity.federation.recheck import RecheckDomains
from deeplens.identity.recovery.tick import TickMail
from deeplens.levels.measure import MeasureLevels
from deeplens.maintenance.slices import TickMaintenance
from deeplens.pipeline.resume import ResumeOverdue
from deeplens.rollouts.advance import TickRollouts
from deeplens.uploads.tick import TickUploads
from deeplens.usage.tick import MeterRequests, TickBudgets, TickUsage
from deeplens.videos.resume import ResumeVideos
from deeplens.webhooks.notify import TickWebhooks
from deeplens.whatsapp.deliver_replies import TickWhatsApp

handler = schedule_handler(
    # People wait for it.
    TickMail,
    ResumeOverdue,
    ResumeVideos,
    TickRollouts,
    TickMaintenance,
    TickMerges,
    TickWebhooks,
    TickWhatsApp,
    TickUploads,
    PurgeAudit,
    MeterRequests,
    TickUsage,
    TickBudgets,
    SendAlerts,
    MeasureLevels,
    # DNS may be slow.
    RecheckDomains,
)
