"""Usage of a tenant."""

from pydantic import AwareDatetime

from deeplens.common.event import ImageId, MetricName, Quantity, TenantEvent


class TenantUsage(TenantEvent):
    """``quantity`` of ``unit`` used by a tenant, e.g. 1 ``images.completed``.

    ``quantities`` holds further metrics that are counted with the same event.
    """

    metric: MetricName
    quantity: Quantity
    unit: str
    occurred_at: AwareDatetime
    image_id: ImageId | None = None
    quantities: dict[MetricName, Quantity] | None = None
