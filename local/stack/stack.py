"""Start the whole platform on one machine in the right order: services, topics, platform database and functions."""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deeplens.bootstrap.container import Container
from deeplens.identity.development import CLIENT, EMAIL
from deeplens.kafka.publisher import KafkaPublisher
from deeplens.settings import Settings

from local.operations.migrations import migrate_platform, migrate_tenants
from local.operations.topics import create_topics
from local.runner import Runner
from local.runner.queues import ACCOUNT
from local.services import (
    ChildService,
    InferenceService,
    KafkaService,
    LocalStackService,
    PostgresService,
    ServiceFailed,
    VectorService,
)
from local.services.process import free_port, require_port
from local.services.supervisor import Supervisor
from local.stack.config import LocalConfig
from local.stack.environment import environment_of, role_urls
from local.stack.seed import seed, seed_prober
from local.telemetry.levels import inference_metrics, samples_of
from local.telemetry.metrics import MetricStore, Sample
from local.telemetry.receiver import TelemetryReceiver
from local.telemetry.store import FILE as TELEMETRY_FILE

REPOSITORY = Path(__file__).resolve().parents[2]
ADDRESS_VARIABLES = {
    "kafka": "KAFKA_BROKERS",
    "postgres": "DATABASE_URL",
    "localstack": "AWS_ENDPOINT_URL",
    "vectors": "QDRANT_URL",
    "inference": "INFERENCE_URL",
}
"""Variable with the address of each service. If it is set, the service runs elsewhere and is not started here."""
AWS_DEFAULTS = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
# LocalStack allows any role to be assumed, and ignores the session's policy.
LOCAL_STORAGE_ROLE = "arn:aws:iam::000000000000:role/deeplens-tenant-storage"
# One machine is its user's own; a tenant still has the limits that it is given.
NO_TENANT_LIMITS = dict.fromkeys(
    ("DEFAULT_MAX_IMAGES", "DEFAULT_MAX_BYTES", "DEFAULT_REQUESTS_PER_MINUTE", "DEFAULT_MAX_FILE_BYTES"), "0"
)
# Secrets and an endpoint that this machine has none of, and LocalStack's buckets are this machine's alone.
ONLY_DEPLOYED = {
    **{f"{name}_SECRET_ARN": "" for name in ("DATABASE", "QDRANT_API_KEY", "TENANT_DATABASE_KEY", "WEBHOOK_KEY")},
    **dict.fromkeys(("PROBE_KEY_SECRET_ARN", "WHATSAPP_SECRET_ARN"), ""),
    **dict.fromkeys(("INFERENCE_ENDPOINT_NAME", "TENANT_BUCKET_SUFFIX"), ""),
}
CORES = os.cpu_count() or 2
WINDOW_PER_CORE, SHARED_PER_CORE = 16, 1
type Progress = Callable[[str, str], None]


def ignore_progress(service: str, state: str) -> None:
    """Report no progress."""


FORWARDED_VARIABLES = (
    *NO_TENANT_LIMITS,
    "EGRESS_ALLOWED_NETWORKS",
    "EGRESS_HTTP",
    "KAFKA_CLIENT_ID",
    "KAFKA_TOPIC",
    "NAME_PREFIX",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_TRACES_SAMPLER_ARG",
    "DEEPLENS_JAEGER_URL",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "WHATSAPP_ACCESS_TOKEN",
    "WHATSAPP_APP_SECRET",
    "WHATSAPP_GRAPH_URL",
    "WHATSAPP_VERIFY_TOKEN",
)
"""Variables of the user's environment that functions get unchanged."""
TEMPLATE_PARAMETERS = {
    "KAFKA_TOPIC": "WhatsAppTopic",
    "KAFKA_GROUP_ID": "WhatsAppConsumerGroup",
    "NAME_PREFIX": "NamePrefix",
}
"""Variables of the user's environment that set parameters of the template."""


class Stack:
    """Start and stop everything that ``deeplens up`` runs.

    Parameters
    ----------
    config : ports and folders.
    environment : the user's variables; they take precedence over addresses of services started here.
    """

    def __init__(self, config: LocalConfig, environment: Mapping[str, str] = os.environ) -> None:
        self.config = config
        self.state_dir = config.state_dir.absolute()
        self.log_dir = self.state_dir / "logs"
        self._external = {name: environment[name] for name in ADDRESS_VARIABLES.values() if environment.get(name)}
        # A database that runs elsewhere may have roles whose passwords follow from the user's key.
        self._tenant_key = environment.get("TENANT_DATABASE_KEY", "")
        self._role_urls = environment.get("DATABASE_ROLE_URLS", "")
        self._index_key = environment.get("QDRANT_API_KEY", "")
        self._webhook_key = environment.get("WEBHOOK_KEY", "")
        self._installation_id = environment.get("INSTALLATION_ID", "")
        self._forwarded = {name: environment[name] for name in FORWARDED_VARIABLES if environment.get(name)}
        self._parameters = {
            parameter: environment[variable]
            for variable, parameter in TEMPLATE_PARAMETERS.items()
            if environment.get(variable)
        }
        if config.probe:
            self._parameters["ProbeEnabled"] = "true"
        self._probe_key = ""
        self._storage_role = environment.get("TENANT_STORAGE_ROLE_ARN", "") or LOCAL_STORAGE_ROLE
        self.services: list[ChildService] = [
            service for service in self._all_services() if ADDRESS_VARIABLES[service.name] not in self._external
        ]
        self.api_port = config.api_port or free_port(config.host)
        self.identity_port = config.identity_port or free_port(config.host)
        self.runner: Runner | None = None
        self._receiver = self._telemetry_receiver() if config.telemetry else None
        self._containers: list[Container] = []
        self.supervisor = Supervisor(self.services, self._log)

    @property
    def api_url(self) -> str:
        return f"http://{self.config.host}:{self.api_port}"

    @property
    def metrics_url(self) -> str | None:
        """The page for Prometheus; what functions measure is not in it where they have another collector."""
        return f"{self._receiver.url}/metrics" if self._receiver else None

    @property
    def identity_url(self) -> str:
        """Address of the issuer. It names ``localhost``, as the documented examples and cookies do."""
        host = "localhost" if self.config.host == "127.0.0.1" else self.config.host
        return f"http://{host}:{self.identity_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment that tools need to reach every service; functions get a part of it."""
        started = {name: value for service in self.services for name, value in service.environment.items()}
        addresses = {**AWS_DEFAULTS, **started, **self._external}
        roles_key = self._stored_secret("database-roles.key")
        return {
            **addresses,
            "PGSSLMODE": "prefer",
            "PGSSLROOTCERT": "",
            **NO_TENANT_LIMITS,
            **self._telemetry_environment(),
            **self._forwarded,
            **ONLY_DEPLOYED,
            "DEEPLENS_ENVIRONMENT": "local",
            "KAFKA_SECURITY": "PLAINTEXT",
            "DATABASE_ROLE_URLS": self._role_urls or role_urls(addresses["DATABASE_URL"], roles_key),
            "QDRANT_API_KEY": self._index_key,
            "TENANT_DATABASE_KEY": self._tenant_key or self._stored_secret("tenant-database.key"),
            "WEBHOOK_KEY": self._webhook_key or self._stored_secret("webhook.key"),
            "INSTALLATION_ID": self._installation_id or self._stored_secret("installation.id"),
            "TENANT_STORAGE_ROLE_ARN": self._storage_role,
            "NFS_ROOT": str(self.state_dir / "objects"),
            "TENANT_NFS_ROOT": str(self.state_dir / "tenants"),
            "MAILBOX_DIR": str(self.config.mailbox_dir.absolute()),
            "PUBLIC_URL": self.api_url,
            # New buckets on LocalStack send their notifications to this queue.
            "OBJECT_QUEUE_ARN": f"arn:aws:sqs:{AWS_DEFAULTS['AWS_REGION']}:{ACCOUNT}:ObjectQueue",
            "DEFAULT_STORAGE": self.config.storage,
            "IDENTITY_URL": self.identity_url,
            "URL_SIGNING_KEY": self._stored_secret("signing.key"),
            "PROBE_KEY": self._probe_key,
            # One machine does not scale out, so a tenant with few images waits behind all images in flight.
            "TENANT_WINDOW": str(WINDOW_PER_CORE * CORES),
            "TENANT_WINDOW_SHARED": str(SHARED_PER_CORE * CORES),
            "PENDING_DUE_SECONDS": str(self.config.pending_due_seconds),
            "PARALLELISM": str(min(8, 2 * CORES)),
            "POWERTOOLS_SERVICE_NAME": "deeplens",
            "DEEPLENS_FAULTS": self.config.faults,
        }

    def _telemetry_receiver(self) -> TelemetryReceiver:
        store = MetricStore(self._samples, lambda: inference_metrics(self.environment.get("INFERENCE_URL", "")))
        return TelemetryReceiver(self.state_dir / TELEMETRY_FILE, self.config.telemetry_port or free_port(), store)

    def _samples(self) -> Iterable[Sample]:
        broker = next((service for service in self.services if isinstance(service, KafkaService)), None)
        return samples_of(self.runner, self.services, broker.data if broker else None) if self.runner else ()

    def _telemetry_environment(self) -> dict[str, str]:
        if self._receiver is None or "OTEL_EXPORTER_OTLP_ENDPOINT" in self._forwarded:
            return dict.fromkeys(("OTEL_EXPORTER_OTLP_ENDPOINT", "DEEPLENS_JAEGER_URL"), "")
        url = self._receiver.url
        # One busy machine answers late, and nobody pays for the wait.
        patience = {"OTEL_EXPORTER_OTLP_TIMEOUT": "2000", "OTEL_TRACES_SAMPLER_ARG": "1"}
        histograms = {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram"}
        # Processes are never frozen here, so an export can wait for the next ones.
        interval = {"OTEL_METRIC_EXPORT_INTERVAL": "1000"}
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "DEEPLENS_JAEGER_URL": url, **patience, **histograms, **interval}

    def container(self) -> Container:
        """Return a container for this stack; for the CLI, the demo and tests."""
        container = container_for(self.environment)
        self._containers.append(container)
        return container

    def start(self, progress: Progress = ignore_progress) -> None:
        """Start everything. After an error, stop everything and raise it, e.g. ``ServiceFailed``."""
        try:
            self._start_services(progress)
            self._start_runner(progress)
            self.supervisor = Supervisor(self.services, self._log)
            self.supervisor.start()
            self._write_state()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.supervisor.stop()
        # A producer that outlives the broker logs each attempt to connect.
        for container in self._containers:
            if isinstance(publisher := vars(container).get("publisher"), KafkaPublisher):
                publisher.close()
        if self.runner is not None:
            self.runner.stop()
            self.runner = None
        if self._receiver is not None:
            self._receiver.stop()
        with ThreadPoolExecutor(len(self.services) or 1) as stoppers:
            list(stoppers.map(lambda service: service.stop(), self.services))
        (self.state_dir / "stack.json").unlink(missing_ok=True)

    def service(self, name: str) -> ChildService:
        return next(service for service in self.services if service.name == name)

    def status(self) -> dict[str, Any]:
        """Return the state of services and functions, for the status screen."""
        started = [
            {"part": service.name, "alive": service.alive(), "at": next(iter(service.environment.values()))}
            for service in self.services
        ]
        external = [
            {"part": name, "alive": True, "at": self._external[variable]}
            for name, variable in ADDRESS_VARIABLES.items()
            if variable in self._external
        ]
        functions = self.runner.status() if self.runner else []
        return {
            "api": self.api_url,
            "identity": self.identity_url,
            "metrics": self.metrics_url,
            "time": time.time(),
            "parts": started + external,
            "functions": functions,
        }

    def write_status(self) -> None:
        """Write the status for ``deeplens status``; the file is replaced atomically."""
        target = self.state_dir / "status.json"
        draft = target.with_suffix(".tmp")
        draft.write_text(json.dumps(self.status()))
        draft.replace(target)

    def _all_services(self) -> list[ChildService]:
        config, state, logs, tools = self.config, self.state_dir, self.log_dir, REPOSITORY / self.config.tools_dir
        return [
            KafkaService(config.kafka_port, state, tools, logs),
            LocalStackService(config.aws_port, state, tools, logs),
            PostgresService(config.postgres_port, state, tools, logs),
            VectorService(config.qdrant_port, state, logs),
            InferenceService(config.inference_port, logs, config.models_dir),
        ]

    def _start_services(self, progress: Progress) -> None:
        check_host(self.config)
        require_port("api", self.config.host, self.api_port, "DEEPLENS_API_PORT")
        require_port("identity api", self.config.host, self.identity_port, "DEEPLENS_IDENTITY_PORT")
        if self._receiver is not None:
            require_port("telemetry", "127.0.0.1", self._receiver.port, "DEEPLENS_TELEMETRY_PORT")
        for service in self.services:
            progress(service.name, "preparing")
        with ThreadPoolExecutor(len(self.services) or 1) as preparing:
            list(preparing.map(lambda service: service.prepare(), self.services))
        for service in self.services:
            progress(service.name, "starting")
            service.launch()
        for service in self.services:
            service.wait_ready()
            progress(service.name, "ready")

    def _start_runner(self, progress: Progress) -> None:
        settings = settings_for(self.environment)
        progress("topics", "creating")
        create_topics(settings)
        progress("database", "migrating")
        container = self.container()
        migrate_platform(settings.database_url, container.platform_role_urls)
        seed(container, self.identity_url)
        failed = [m for m in migrate_tenants(self.container().connections, lambda _: None) if m.error]
        if failed:
            raise ServiceFailed(f"{len(failed)} tenant databases were not migrated, e.g. {failed[0]}. Start again.")
        if self.config.probe:
            self._probe_key = self._stored_secret("probe.key", lambda: seed_prober(container, self.config.storage))
        if self._receiver is not None:
            self._receiver.start()
        self.runner = Runner(
            REPOSITORY / "template.yaml",
            environment=self.environment,
            environment_of=environment_of,
            parameters=self._parameters,
            state_dir=self.state_dir,
            log_dir=self.log_dir,
            host=self.config.host,
            ports=[self.api_port, self.identity_port],
            processes=self.config.max_processes,
        )
        self.runner.start(lambda name: progress(name, "warm"))
        progress("api", "ready")

    def _log(self, line: str) -> None:
        with (self.log_dir / "supervisor.log").open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")

    def _stored_secret(self, name: str, new: Callable[[], str] = lambda: secrets.token_hex(32)) -> str:
        """Return a secret of this stack. It is stored, so that signed URLs and databases survive a restart."""
        path = self.state_dir / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            value = new()
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(value)
        return path.read_text()

    def _write_state(self) -> None:
        addresses = {"api": self.api_url, "metrics": self.metrics_url}
        state = {"pid": os.getpid(), **addresses, "environment": self.environment}
        self.write_status()
        target = self.state_dir / "stack.json"
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(state, file)


def check_host(config: LocalConfig) -> None:
    """Keep the documented administrator on this machine. Raises ``ServiceFailed``."""
    if not (config.allow_remote or config.host in ("localhost", "127.0.0.1", "::1")):
        raise ServiceFailed(
            f"DEEPLENS_HOST={config.host} would let every machine that reaches this one sign in as {EMAIL} and as the"
            f" client {CLIENT}, whose secrets are in the documentation. Keep 127.0.0.1 and forward the port, e.g."
            f" ssh -L {config.identity_port}:localhost:{config.identity_port}; or set DEEPLENS_ALLOW_REMOTE=true where"
            " you trust every machine on the network."
        )


def settings_for(environment: Mapping[str, str]) -> Settings:
    """Read settings from variables other than this process's environment."""
    names = {(field.alias or name).lower(): name for name, field in Settings.model_fields.items()}
    values = {
        Settings.model_fields[names[key.lower()]].alias or names[key.lower()]: value
        for key, value in environment.items()
        if key.lower() in names
    }
    return Settings(**values)  # type: ignore[arg-type]


def container_for(environment: Mapping[str, str]) -> Container:
    """Return a container for variables other than this process's environment."""
    return Container(settings_for(environment))


def running_stack(state_dir: Path) -> dict[str, Any] | None:
    """Return the state of the stack that runs with this state folder, or None."""
    path = state_dir.absolute() / "stack.json"
    try:
        state: dict[str, Any] = json.loads(path.read_text())
        os.kill(state["pid"], 0)
    except (OSError, ValueError, KeyError):
        return None
    return state
