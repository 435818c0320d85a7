"""Tables of what tenants use, in the platform database."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from deeplens.database.platform.tables import Base


class UsageEventRow(Base):
    """Ids of the events already counted."""

    __tablename__ = "usage_events"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(index=True)


class UsageDayRow(Base):
    """What a tenant used on a day (UTC). ``level_at`` is when a gauge stood so; other metrics add up."""

    __tablename__ = "usage_daily"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    quantity: Mapped[Decimal]
    level_at: Mapped[datetime | None]

    __table_args__ = (
        Index("usage_daily_metric", "tenant_id", "metric", "day"),
        Index("usage_daily_levels", "day", postgresql_where=text("level_at IS NOT NULL")),
    )


class BegunDayRow(Base):
    """Days into which gauges were carried over."""

    __tablename__ = "usage_days"

    day: Mapped[date] = mapped_column(primary_key=True)
    begun_at: Mapped[datetime]


class RequestCounterRow(Base):
    """Requests to the API in a minute, and what they were; minutes that ended go to ``usage_outbox``."""

    __tablename__ = "request_counters"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    minute: Mapped[datetime] = mapped_column(primary_key=True, index=True)
    requests: Mapped[int]
    searches: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    egress_bytes: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class UnmeteredRow(Base):
    """Requests on their way to the meter, which removes the row in the transaction that counts them."""

    __tablename__ = "usage_outbox"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(index=True)
    occurred_at: Mapped[datetime]
    quantities: Mapped[dict[str, Any]]
    due: Mapped[datetime] = mapped_column(index=True)


class BudgetRow(Base):
    __tablename__ = "usage_budgets"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    monthly_limit: Mapped[Decimal]
    warn_percent: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    action: Mapped[str]


class BudgetWarningRow(Base):
    """A threshold that was reached in a month, once; ``told_at`` is when webhooks were."""

    __tablename__ = "usage_budget_warnings"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)
    percent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reached_at: Mapped[datetime]
    used: Mapped[Decimal]
    monthly_limit: Mapped[Decimal]
    action: Mapped[str]
    told_at: Mapped[datetime | None]

    __table_args__ = (Index("usage_budget_warnings_untold", "reached_at", postgresql_where=text("told_at IS NULL")),)
