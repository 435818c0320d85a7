-- The schema of the platform database. Later migrations start from it.

CREATE SCHEMA nextgen_identity;

-- Tenants and their models
CREATE TABLE tenants (
    id text PRIMARY KEY,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'provisioning',
    database_server text,
    database_name text NOT NULL UNIQUE,
    storage_uri text NOT NULL UNIQUE,
    qdrant_url text,
    model_name text NOT NULL,
    model_version text NOT NULL,
    model_dimensions integer NOT NULL,
    schema_version text,
    limits jsonb NOT NULL DEFAULT '{}',
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    target_name text,
    target_version text,
    target_dimensions integer,
    progress jsonb NOT NULL DEFAULT '{}',
    status_since timestamptz NOT NULL DEFAULT now(),
    notified text[] NOT NULL DEFAULT '{}',
    ingestion_paused jsonb,
    chats boolean NOT NULL DEFAULT false,
    duplicates jsonb NOT NULL DEFAULT '{}',
    video jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX tenants_unsettled ON tenants (status_since) WHERE status IN ('provisioning', 'deleting');

CREATE TABLE models (
    name text NOT NULL,
    version text NOT NULL,
    dimensions integer NOT NULL,
    thresholds jsonb,
    text boolean NOT NULL DEFAULT false,
    PRIMARY KEY (name, version)
);

CREATE TABLE model_rollouts (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    state text NOT NULL,
    source_name text NOT NULL,
    source_version text NOT NULL,
    source_dimensions integer NOT NULL,
    target_name text NOT NULL,
    target_version text NOT NULL,
    target_dimensions integer NOT NULL,
    dual_since timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    cut_over_at timestamptz,
    ended_at timestamptz,
    dropped_at timestamptz
);
CREATE UNIQUE INDEX model_rollouts_live ON model_rollouts (tenant_id) WHERE ended_at IS NULL;
CREATE INDEX model_rollouts_tenant ON model_rollouts (tenant_id, created_at);
CREATE INDEX model_rollouts_unfinished ON model_rollouts (created_at) WHERE dropped_at IS NULL;

-- Access: API keys, the audit log, counted requests
CREATE TABLE tenant_api_keys (
    prefix text PRIMARY KEY,
    tenant_id text REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    secret_sha256 bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
CREATE INDEX ix_tenant_api_keys_tenant_id ON tenant_api_keys (tenant_id);

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    client_id text,
    actor_tenant_id text,
    tenant_id text,
    action text NOT NULL,
    target text NOT NULL,
    outcome text NOT NULL,
    detail jsonb,
    request_id text NOT NULL
);
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, id);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE request_counters (
    tenant_id text NOT NULL,
    minute timestamptz NOT NULL,
    requests integer NOT NULL,
    searches bigint NOT NULL DEFAULT 0,
    egress_bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, minute)
);
CREATE INDEX ix_request_counters_minute ON request_counters (minute);

-- Identity: its own schema
CREATE TABLE nextgen_identity.users (
    id text PRIMARY KEY,
    tenant_id text REFERENCES tenants ON DELETE CASCADE,
    email text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    roles text[] NOT NULL,
    status text NOT NULL DEFAULT 'active',
    failed_sign_ins integer NOT NULL DEFAULT 0,
    locked_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    name text NOT NULL DEFAULT ''
);
CREATE INDEX ix_nextgen_identity_users_tenant_id ON nextgen_identity.users (tenant_id);

CREATE TABLE nextgen_identity.clients (
    id text PRIMARY KEY,
    tenant_id text REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    secret_sha256 bytea,
    redirect_uris text[] NOT NULL,
    post_logout_redirect_uris text[] NOT NULL,
    grants text[] NOT NULL,
    scopes text[] NOT NULL,
    needs_consent boolean NOT NULL DEFAULT true,
    status text NOT NULL DEFAULT 'active',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_nextgen_identity_clients_tenant_id ON nextgen_identity.clients (tenant_id);

CREATE TABLE nextgen_identity.signing_keys (
    kid text PRIMARY KEY,
    public_jwk jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,
    lost_at timestamptz
);

CREATE TABLE nextgen_identity.sessions (
    secret_sha256 bytea PRIMARY KEY,
    id text NOT NULL UNIQUE,
    user_id text NOT NULL REFERENCES nextgen_identity.users ON DELETE CASCADE,
    authenticated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ix_nextgen_identity_sessions_expires_at ON nextgen_identity.sessions (expires_at);
CREATE INDEX ix_nextgen_identity_sessions_user_id ON nextgen_identity.sessions (user_id);

CREATE TABLE nextgen_identity.consents (
    user_id text NOT NULL REFERENCES nextgen_identity.users ON DELETE CASCADE,
    client_id text NOT NULL REFERENCES nextgen_identity.clients ON DELETE CASCADE,
    scopes text[] NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, client_id)
);

CREATE TABLE nextgen_identity.token_families (
    id text PRIMARY KEY,
    client_id text NOT NULL REFERENCES nextgen_identity.clients ON DELETE CASCADE,
    user_id text NOT NULL REFERENCES nextgen_identity.users ON DELETE CASCADE,
    session_id text NOT NULL,
    scopes text[] NOT NULL,
    authenticated_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX ix_nextgen_identity_token_families_client_id ON nextgen_identity.token_families (client_id);
CREATE INDEX ix_nextgen_identity_token_families_expires_at ON nextgen_identity.token_families (expires_at);
CREATE INDEX ix_nextgen_identity_token_families_user_id ON nextgen_identity.token_families (user_id);

CREATE TABLE nextgen_identity.refresh_tokens (
    token_sha256 bytea PRIMARY KEY,
    family text NOT NULL REFERENCES nextgen_identity.token_families ON DELETE CASCADE,
    issued_at timestamptz NOT NULL DEFAULT now(),
    spent_at timestamptz
);
CREATE INDEX ix_nextgen_identity_refresh_tokens_family ON nextgen_identity.refresh_tokens (family);

CREATE TABLE nextgen_identity.authorization_codes (
    code_sha256 bytea PRIMARY KEY,
    family text NOT NULL,
    client_id text NOT NULL REFERENCES nextgen_identity.clients ON DELETE CASCADE,
    user_id text NOT NULL REFERENCES nextgen_identity.users ON DELETE CASCADE,
    session_id text NOT NULL,
    redirect_uri text NOT NULL,
    scopes text[] NOT NULL,
    nonce text,
    code_challenge text NOT NULL,
    authenticated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX ix_nextgen_identity_authorization_codes_client_id ON nextgen_identity.authorization_codes (client_id);
CREATE INDEX ix_nextgen_identity_authorization_codes_expires_at ON nextgen_identity.authorization_codes (expires_at);
CREATE INDEX ix_nextgen_identity_authorization_codes_user_id ON nextgen_identity.authorization_codes (user_id);

-- Uploads and files on their way
CREATE TABLE direct_uploads (
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    id text NOT NULL,
    file_name text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text,
    tags text[] NOT NULL,
    metadata jsonb NOT NULL,
    part_bytes bigint,
    multipart_id text,
    status text NOT NULL,
    attempts integer NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    due timestamptz NOT NULL,
    claimed_until timestamptz,
    error_code text,
    error_message text,
    error_retryable boolean,
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX direct_uploads_due ON direct_uploads (due) WHERE status = 'open';
CREATE INDEX direct_uploads_ended ON direct_uploads (ended_at) WHERE status <> 'open';
CREATE INDEX direct_uploads_open ON direct_uploads (tenant_id) WHERE status = 'open';

CREATE TABLE pending_images (
    tenant_id text NOT NULL,
    image_id text NOT NULL,
    event jsonb NOT NULL,
    released boolean NOT NULL,
    due timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, image_id)
);
CREATE INDEX pending_images_due ON pending_images (due) WHERE released;
CREATE INDEX pending_images_in_flight ON pending_images (tenant_id) WHERE released;
CREATE INDEX pending_images_waiting ON pending_images (tenant_id, accepted_at) WHERE NOT released;

CREATE TABLE pending_videos (
    tenant_id text NOT NULL,
    video_id text NOT NULL,
    event jsonb NOT NULL,
    due timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, video_id)
);
CREATE INDEX pending_videos_due ON pending_videos (due);

-- Registered stores
CREATE TABLE tenant_stores (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    kind text NOT NULL,
    mode text NOT NULL,
    container text NOT NULL,
    created_at timestamptz NOT NULL,
    endpoint text,
    region text,
    prefix text NOT NULL,
    role_arn text,
    bucket_owner text,
    credentials_version integer NOT NULL,
    removal text NOT NULL,
    state text NOT NULL,
    checks jsonb NOT NULL,
    notified_at timestamptz,
    former_uri text,
    event_secret_sha256 text NOT NULL
);
CREATE INDEX ix_tenant_stores_container ON tenant_stores (container);
CREATE INDEX ix_tenant_stores_tenant_id ON tenant_stores (tenant_id);

-- Failures and alerts
CREATE TABLE operator_alerts (
    id text PRIMARY KEY,
    kind text NOT NULL,
    code text NOT NULL,
    stage text,
    tenant_id text,
    raised_at timestamptz NOT NULL,
    due timestamptz NOT NULL,
    told_at timestamptz
);
CREATE INDEX operator_alerts_raised ON operator_alerts (raised_at);
CREATE INDEX operator_alerts_untold ON operator_alerts (due) WHERE told_at IS NULL;

CREATE TABLE dead_letters (
    id text PRIMARY KEY,
    tenant_id text,
    image_id text,
    stage text,
    error_code text NOT NULL,
    error_message text NOT NULL,
    attempt integer NOT NULL,
    failed_at timestamptz NOT NULL,
    source jsonb,
    stored_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'open',
    replays integer NOT NULL DEFAULT 0,
    settled_at timestamptz,
    reason text
);
CREATE INDEX dead_letters_code ON dead_letters (error_code, stage);
CREATE INDEX dead_letters_newest ON dead_letters (failed_at, id);
CREATE INDEX dead_letters_tenant ON dead_letters (tenant_id, failed_at);

-- Triggers raise the alerts, in the transaction that keeps a dead letter or a broken run.
CREATE FUNCTION operator_alerts_of_letters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO operator_alerts (id, kind, code, stage, tenant_id, raised_at, due)
    SELECT id, 'dead-letter', error_code, stage, tenant_id, now(), now() FROM added
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END$$;
CREATE TRIGGER dead_letters_alert AFTER INSERT ON dead_letters
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION operator_alerts_of_letters();

-- Maintenance
CREATE TABLE maintenance_runs (
    id text PRIMARY KEY,
    tenant_id text NOT NULL,
    type text NOT NULL,
    dry_run boolean NOT NULL,
    created_at timestamptz NOT NULL,
    due timestamptz NOT NULL,
    cursor text NOT NULL,
    slices integer NOT NULL,
    report jsonb NOT NULL,
    ended_at timestamptz,
    error text
);
CREATE INDEX maintenance_runs_due ON maintenance_runs (due) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX maintenance_runs_live ON maintenance_runs (tenant_id, type) WHERE ended_at IS NULL;
CREATE INDEX maintenance_runs_newest ON maintenance_runs (created_at);
CREATE INDEX maintenance_runs_tenant ON maintenance_runs (tenant_id, created_at);
CREATE FUNCTION operator_alerts_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO operator_alerts (id, kind, code, stage, tenant_id, raised_at, due)
    VALUES (NEW.id, 'maintenance', split_part(NEW.error, ':', 1), NEW.type, NEW.tenant_id, now(), now())
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END$$;
CREATE TRIGGER maintenance_runs_alert AFTER UPDATE ON maintenance_runs
    FOR EACH ROW WHEN (((old.error IS NULL) AND (new.error IS NOT NULL))) EXECUTE FUNCTION operator_alerts_of_runs();

CREATE TABLE tenant_sweeps (
    tenant_id text PRIMARY KEY,
    changed_at timestamptz NOT NULL,
    swept_at timestamptz NOT NULL,
    due boolean NOT NULL,
    measured_at timestamptz
);
CREATE INDEX tenant_sweeps_due ON tenant_sweeps (swept_at) WHERE due;
CREATE INDEX tenant_sweeps_unmeasured ON tenant_sweeps (changed_at)
    WHERE measured_at IS NULL OR measured_at < changed_at;

-- A tenant's first image makes the row, and the first sweep comes when something is old enough for it. Ten minutes pass
-- between changes of a row: uploads of a tenant would wait for each other if each of them locked it.
CREATE FUNCTION tenant_sweeps_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tenant_sweeps AS known (tenant_id, changed_at, swept_at, due)
    SELECT DISTINCT added.tenant_id, now(), now(), true FROM added
    WHERE NOT EXISTS (
        SELECT FROM tenant_sweeps s
        WHERE s.tenant_id = added.tenant_id AND s.due AND s.changed_at > now() - make_interval(mins => 10))
    ORDER BY 1
    ON CONFLICT (tenant_id) DO UPDATE SET changed_at = greatest(known.changed_at, excluded.changed_at), due = true;
    RETURN NULL;
END$$;
CREATE TRIGGER pending_images_note_change AFTER INSERT ON pending_images
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tenant_sweeps_note();

CREATE TABLE merge_deadlines (
    merge_id text NOT NULL,
    tenant_id text NOT NULL,
    due timestamptz NOT NULL,
    PRIMARY KEY (merge_id, tenant_id)
);
CREATE INDEX ix_merge_deadlines_due ON merge_deadlines (due);
CREATE INDEX ix_merge_deadlines_tenant_id ON merge_deadlines (tenant_id);

-- Usage
CREATE TABLE usage_daily (
    tenant_id text NOT NULL,
    day date NOT NULL,
    metric text NOT NULL,
    quantity numeric NOT NULL,
    level_at timestamptz,
    PRIMARY KEY (tenant_id, day, metric)
);
CREATE INDEX usage_daily_levels ON usage_daily (day) WHERE level_at IS NOT NULL;
CREATE INDEX usage_daily_metric ON usage_daily (tenant_id, metric, day);

CREATE TABLE usage_days (
    day date PRIMARY KEY,
    begun_at timestamptz NOT NULL
);

CREATE TABLE usage_events (
    event_id text PRIMARY KEY,
    occurred_at timestamptz NOT NULL
);
CREATE INDEX ix_usage_events_occurred_at ON usage_events (occurred_at);

CREATE TABLE usage_outbox (
    event_id text PRIMARY KEY,
    tenant_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    quantities jsonb NOT NULL,
    due timestamptz NOT NULL
);
CREATE INDEX ix_usage_outbox_due ON usage_outbox (due);
CREATE INDEX ix_usage_outbox_tenant_id ON usage_outbox (tenant_id);

CREATE TABLE usage_budgets (
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    metric text NOT NULL,
    monthly_limit numeric NOT NULL,
    warn_percent integer[] NOT NULL,
    action text NOT NULL,
    PRIMARY KEY (tenant_id, metric)
);

CREATE TABLE usage_budget_warnings (
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    metric text NOT NULL,
    month date NOT NULL,
    percent integer NOT NULL,
    reached_at timestamptz NOT NULL,
    used numeric NOT NULL,
    monthly_limit numeric NOT NULL,
    action text NOT NULL,
    told_at timestamptz,
    PRIMARY KEY (tenant_id, metric, month, percent)
);
CREATE INDEX usage_budget_warnings_untold ON usage_budget_warnings (reached_at) WHERE told_at IS NULL;

-- Webhooks
CREATE TABLE webhooks (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    url text NOT NULL,
    events text[] NOT NULL,
    created_at timestamptz NOT NULL,
    enabled boolean NOT NULL,
    disabled_reason text,
    secret_version integer NOT NULL,
    previous_until timestamptz,
    failing_since timestamptz,
    failures integer NOT NULL,
    paused_until timestamptz
);
CREATE INDEX ix_webhooks_tenant_id ON webhooks (tenant_id);

CREATE TABLE webhook_deliveries (
    id text PRIMARY KEY,
    webhook_id text NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    tenant_id text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL,
    next_at timestamptz NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL,
    last_status integer,
    last_error text,
    delivered_at timestamptz
);
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (created_at) WHERE state <> 'waiting';
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (webhook_id, created_at);
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (next_at) WHERE state = 'waiting';

-- WhatsApp
CREATE TABLE whatsapp_chats (
    id text PRIMARY KEY,
    jid text NOT NULL UNIQUE,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    linked_at timestamptz NOT NULL
);
CREATE INDEX ix_whatsapp_chats_tenant_id ON whatsapp_chats (tenant_id);

CREATE TABLE whatsapp_rules (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    position integer NOT NULL,
    actions text[] NOT NULL,
    types text[],
    senders text[],
    groups text[],
    in_group boolean,
    text text,
    tags text[] NOT NULL
);
CREATE INDEX ix_whatsapp_rules_tenant_id ON whatsapp_rules (tenant_id);

CREATE TABLE whatsapp_messages (
    message_id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    chat_jid text NOT NULL,
    type text NOT NULL,
    outcome text NOT NULL,
    received_at timestamptz NOT NULL,
    reason text,
    code text,
    rule_id text,
    image_id text,
    forwarded boolean NOT NULL
);
CREATE INDEX whatsapp_messages_newest ON whatsapp_messages (tenant_id, received_at);
CREATE INDEX whatsapp_messages_oldest ON whatsapp_messages (received_at);

CREATE TABLE whatsapp_replies (
    id text PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES tenants ON DELETE CASCADE,
    chat_jid text NOT NULL,
    message_id text NOT NULL UNIQUE,
    phone_number_id text NOT NULL,
    created_at timestamptz NOT NULL,
    next_at timestamptz NOT NULL,
    state text NOT NULL,
    text text,
    image_id text,
    file_name text,
    failed boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL,
    last_error text,
    sent_at timestamptz
);
CREATE INDEX whatsapp_replies_chat ON whatsapp_replies (tenant_id, chat_jid);
CREATE INDEX whatsapp_replies_due ON whatsapp_replies (next_at) WHERE state IN ('awaiting', 'waiting');
CREATE INDEX whatsapp_replies_image ON whatsapp_replies (tenant_id, image_id) WHERE state IN ('awaiting', 'waiting');
