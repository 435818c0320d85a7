"""The published language: every Kafka payload and the registry of topics."""
