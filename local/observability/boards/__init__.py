"""The dashboards. Queries name only metrics of ``deeplens.telemetry.instruments``, which a test checks."""

from local.observability.boards import database, function, inference, kafka, overview, pipeline, tenant

BOARDS = tuple(module.BOARD for module in (overview, pipeline, tenant, function, inference, kafka, database))
