"""Tables of the platform database."""

from functools import partial

from sqlalchemy import Index, MetaData, text

from deeplens.database.schema import define_table

METADATA = MetaData()
IDENTITY = "nextgen_identity"
"""The schema of users, clients and tokens."""
table = partial(define_table, METADATA)

# ``database_server`` and ``qdrant_url`` are null for tenants on the platform's own server and index.
# ``target_*`` is a second model that every image is embedded with; cut-over and roll-back exchange the two.
# ``progress`` holds the completed steps of creation and deletion; a deleted tenant's row stays as its receipt.
table(
    "tenants",
    "id text key, name text, status text = provisioning, database_server text?, database_name text unique, "
    "storage_uri text unique, qdrant_url text?, model_name text, model_version text, target_name text?, "
    "target_version text?, schema_version text?, notified text[] = {}, limits jsonb = {}, settings jsonb = {}, "
    "progress jsonb = {}, ingestion_paused jsonb?, duplicates jsonb = {}, video jsonb = {}, chats boolean = false, "
    "model_dimensions int, target_dimensions int?, status_since time = now(), created_at time = now()",
    Index("tenants_unsettled", "status_since", postgresql_where=text("status IN ('provisioning', 'deleting')")),
)

# A registered model; ``thresholds`` are the cosines of its match labels.
table("models", "name text key, version text key, thresholds jsonb?, text boolean = false, dimensions int")

# A tenant's change of model; at most one that has not ended.
table(
    "model_rollouts",
    "id text key, tenant_id text -> tenants.id, state text, source_name text, source_version text, target_name text, "
    "target_version text, source_dimensions int, target_dimensions int, dual_since time, created_at time, "
    "cut_over_at time?, ended_at time?, dropped_at time?",
    Index("model_rollouts_live", "tenant_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("model_rollouts_tenant", "tenant_id", "created_at"),
    Index("model_rollouts_unfinished", "created_at", postgresql_where=text("dropped_at IS NULL")),
)

# API keys. Only the hash of the secret is stored. An operator's key has no tenant.
table(
    "tenant_api_keys",
    "prefix text key, tenant_id text? -> tenants.id index, name text, scopes text[], secret_sha256 bytea, "
    "created_at time = now(), expires_at time?, revoked_at time?, last_used_at time?",
)

# Accepted images that have not ended; ``released`` ones are in flight, the others wait for the tenant's window.
table(
    "pending_images",
    "tenant_id text key, image_id text key, event jsonb, released boolean, due time, "
    "accepted_at time = clock_timestamp()",
    Index("pending_images_due", "due", postgresql_where=text("released")),
    Index("pending_images_in_flight", "tenant_id", postgresql_where=text("released")),
    Index("pending_images_waiting", "tenant_id", "accepted_at", postgresql_where=text("NOT released")),
)

# Accepted videos whose segments are not all done.
table(
    "pending_videos", "tenant_id text key, video_id text key, event jsonb, due time", Index("pending_videos_due", "due")
)

# Append-only, held by a trigger. Every write has two entries: ``begun``, and how it ended.
table(
    "audit_log",
    "id bigint key = always identity, actor text, client_id text?, actor_tenant_id text?, tenant_id text?, "
    "action text, target text, outcome text, request_id text, detail jsonb?, at time = clock_timestamp()",
    Index("audit_log_tenant", "tenant_id", "id"),
)

# When a tenant changed, recorded at most every ten minutes, and when its last sweep began.
# ``due``: it changed after that sweep. A trigger on ``pending_images`` records changes by any writer. Its
# storage was measured after every change recorded before ``measured_at``.
table(
    "tenant_sweeps",
    "tenant_id text key, due boolean, changed_at time, swept_at time, measured_at time?",
    Index("tenant_sweeps_due", "swept_at", postgresql_where=text("due")),
    Index(
        "tenant_sweeps_unmeasured",
        "changed_at",
        postgresql_where=text("measured_at IS NULL OR measured_at < changed_at"),
    ),
)

# A maintenance run; ``due`` is when the schedule resumes it, unless it continued by itself.
table(
    "maintenance_runs",
    "id text key, tenant_id text, type text, cursor text, error text?, report jsonb, dry_run boolean, slices int, "
    "created_at time, due time, ended_at time?",
    Index("maintenance_runs_due", "due", postgresql_where=text("ended_at IS NULL")),
    Index("maintenance_runs_live", "tenant_id", "type", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("maintenance_runs_newest", "created_at"),
    Index("maintenance_runs_tenant", "tenant_id", "created_at"),
)

# An endpoint of a tenant. Its secret follows from the platform's key, its id and ``secret_version``.
# The event types of enabled webhooks are also in ``tenants.notified``, written in the same transaction.
table(
    "webhooks",
    "id text key, tenant_id text -> tenants.id index, url text, disabled_reason text?, events text[], "
    "enabled boolean, secret_version int, failures int, created_at time, previous_until time?, failing_since time?, "
    "paused_until time?",
)

# One message to one webhook. Its id follows from the webhook's and the event's, so that no event is sent twice.
table(
    "webhook_deliveries",
    "id text key, webhook_id text -> webhooks.id, tenant_id text, event_id text, type text, body text, state text, "
    "last_error text?, attempts int, last_status int?, created_at time, next_at time, delivered_at time?",
    Index("webhook_deliveries_ended", "created_at", postgresql_where=text("state <> 'waiting'")),
    Index("webhook_deliveries_newest", "webhook_id", "created_at"),
    Index("webhook_deliveries_waiting", "next_at", postgresql_where=text("state = 'waiting'")),
)

# ``source`` is the record that failed: topic, partition, offset, key and value in base64.
# ``state`` is open, replayed or discarded; ``settled_at`` and ``reason`` say since when and why.
table(
    "dead_letters",
    "id text key, tenant_id text?, image_id text?, stage text?, error_code text, error_message text, "
    "state text = open, reason text?, source jsonb?, attempt int, replays int = 0, failed_at time, "
    "stored_at time = now(), settled_at time?",
    Index("dead_letters_code", "error_code", "stage"),
    Index("dead_letters_newest", "failed_at", "id"),
    Index("dead_letters_tenant", "tenant_id", "failed_at"),
)

# Alerts about dead letters and broken runs, added by triggers. ``due`` is when an alert may be claimed again.
table(
    "operator_alerts",
    "id text key, kind text, code text, stage text?, tenant_id text?, raised_at time, due time, told_at time?",
    Index("operator_alerts_raised", "raised_at"),
    Index("operator_alerts_untold", "due", postgresql_where=text("told_at IS NULL")),
)

# When merges of images become final. The merge itself is in its tenant's database.
table("merge_deadlines", "merge_id text key, tenant_id text key index, due time index")

# Ids of the events already counted.
table("usage_events", "event_id text key, occurred_at time index")

# Usage of a tenant's day (UTC). ``level_at`` is when a gauge was measured; other metrics add up.
table(
    "usage_daily",
    "tenant_id text key, day date key, metric text key, quantity numeric, level_at time?",
    Index("usage_daily_levels", "day", postgresql_where=text("level_at IS NOT NULL")),
    Index("usage_daily_metric", "tenant_id", "metric", "day"),
)

# Days into which gauges were carried over.
table("usage_days", "day date key, begun_at time")

# Requests, searches and egress per minute; minutes that ended move to ``usage_outbox``.
table(
    "request_counters",
    "tenant_id text key, minute time key index, requests int, searches bigint = 0, egress_bytes bigint = 0",
)

# Counts on their way to the meter, which deletes the row in the transaction that adds them to the day.
table("usage_outbox", "event_id text key, tenant_id text index, quantities jsonb, occurred_at time, due time index")

# Monthly budgets.
table(
    "usage_budgets",
    "tenant_id text key -> tenants.id, metric text key, action text, warn_percent int[], monthly_limit numeric",
)

# Thresholds that were reached, once per month; ``told_at`` is when webhooks were notified.
table(
    "usage_budget_warnings",
    "tenant_id text key -> tenants.id, metric text key, month date key, percent int key, action text, used numeric, "
    "monthly_limit numeric, reached_at time, told_at time?",
    Index("usage_budget_warnings_untold", "reached_at", postgresql_where=text("told_at IS NULL")),
)

# Customer-owned storage, ``stores.model.TenantStore``. Credentials are in the secret store, their version is here.
table(
    "tenant_stores",
    "id text key, tenant_id text -> tenants.id index, kind text, mode text, container text index, endpoint text?, "
    "region text?, prefix text, role_arn text?, bucket_owner text?, removal text, state text, former_uri text?, "
    "event_secret_sha256 text, checks jsonb, credentials_version int, created_at time, notified_at time?",
)

# ``uploads.model.DirectUpload``; ``claimed_until`` is a lease: no two workers handle one upload.
table(
    "direct_uploads",
    "tenant_id text key -> tenants.id, id text key, file_name text, sha256 text?, multipart_id text?, status text, "
    "error_code text?, error_message text?, tags text[], metadata jsonb, error_retryable boolean?, attempts int, "
    "size_bytes bigint, part_bytes bigint?, created_at time, expires_at time, due time, claimed_until time?, "
    "ended_at time?",
    Index("direct_uploads_due", "due", postgresql_where=text("status = 'open'")),
    Index("direct_uploads_ended", "ended_at", postgresql_where=text("status <> 'open'")),
    Index("direct_uploads_open", "tenant_id", postgresql_where=text("status = 'open'")),
)

# A chat belongs to one tenant; ``tenants.chats`` is written in the same transaction.
table("whatsapp_chats", "id text key, jid text unique, tenant_id text -> tenants.id index, name text, linked_at time")

# Rules for messages; a null column matches every message.
table(
    "whatsapp_rules",
    "id text key, tenant_id text -> tenants.id index, text text?, actions text[], types text[]?, senders text[]?, "
    "groups text[]?, tags text[], in_group boolean?, position int",
)

# Outcomes of messages. The id is WhatsApp's, so that a message has one effect whichever tenant has the chat.
table(
    "whatsapp_messages",
    "message_id text key, tenant_id text -> tenants.id, chat_jid text, type text, outcome text, reason text?, "
    "code text?, rule_id text?, image_id text?, forwarded boolean, received_at time",
    Index("whatsapp_messages_newest", "tenant_id", "received_at"),
    Index("whatsapp_messages_oldest", "received_at"),
)

# Texts for chats. A reply in state ``awaiting`` gets its text when its image ends; ``failed`` says how it ended.
table(
    "whatsapp_replies",
    "id text key, tenant_id text -> tenants.id, chat_jid text, message_id text unique, phone_number_id text, "
    "state text, text text?, image_id text?, file_name text?, last_error text?, failed boolean = false, attempts int, "
    "created_at time, next_at time, sent_at time?",
    Index("whatsapp_replies_chat", "tenant_id", "chat_jid"),
    Index("whatsapp_replies_due", "next_at", postgresql_where=text("state IN ('awaiting', 'waiting')")),
    Index("whatsapp_replies_image", "tenant_id", "image_id", postgresql_where=text("state IN ('awaiting', 'waiting')")),
)

# Users. Platform administrators have no tenant. ``email`` is in lower case.
table(
    "users",
    "id text key, tenant_id text? -> tenants.id index, email text unique, name text = '', password_hash text, "
    "status text = active, roles text[], failed_sign_ins int = 0, locked_until time?, created_at time = now()",
    schema=IDENTITY,
)

# OAuth clients; one without a secret is public. Clients of the platform have no tenant.
table(
    "clients",
    "id text key, tenant_id text? -> tenants.id index, name text, status text = active, redirect_uris text[], "
    "post_logout_redirect_uris text[], grants text[], scopes text[], needs_consent boolean = true, "
    "secret_sha256 bytea?, created_at time = now()",
    schema=IDENTITY,
)

# Authorization codes. They are kept after use, so that a replay is noticed and revokes the token family.
table(
    "authorization_codes",
    "code_sha256 bytea key, family text, client_id text -> nextgen_identity.clients.id index, "
    "user_id text -> nextgen_identity.users.id index, session_id text, redirect_uri text, nonce text?, "
    "code_challenge text, scopes text[], authenticated_at time, expires_at time index, used_at time?",
    schema=IDENTITY,
)

# All tokens that one authorization code led to; they are revoked together.
table(
    "token_families",
    "id text key, client_id text -> nextgen_identity.clients.id index, "
    "user_id text -> nextgen_identity.users.id index, session_id text, scopes text[], authenticated_at time, "
    "created_at time = now(), expires_at time index, revoked_at time?",
    schema=IDENTITY,
)

# Refresh tokens. Each is used once; the reuse of one revokes its family.
table(
    "refresh_tokens",
    "token_sha256 bytea key, family text -> nextgen_identity.token_families.id index, issued_at time = now(), "
    "spent_at time?",
    schema=IDENTITY,
)

# Sessions of browsers. The cookie holds the secret; ``id`` is public (``sid``).
table(
    "sessions",
    "secret_sha256 bytea key, id text unique, user_id text -> nextgen_identity.users.id index, authenticated_at time, "
    "expires_at time index",
    schema=IDENTITY,
)

# Scopes that a user granted a client; consent is not requested again for them.
table(
    "consents",
    "user_id text key -> nextgen_identity.users.id, client_id text key -> nextgen_identity.clients.id, scopes text[], "
    "granted_at time = now()",
    schema=IDENTITY,
)

# Public halves of signing keys; the private half is a secret named after ``kid``.
# ``lost_at`` is set when that secret is missing: the key verifies what it signed, but no longer signs.
table(
    "signing_keys", "kid text key, public_jwk jsonb, created_at time, signs_from time, lost_at time?", schema=IDENTITY
)
