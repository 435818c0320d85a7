"""every minute, where it is switched on → one image through the public API: upload, search, delete"""

from deeplens.bootstrap.handlers import schedule_handler
from deeplens.probe.tick import TickProbe

handler = schedule_handler(TickProbe)
