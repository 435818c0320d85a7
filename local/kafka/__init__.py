"""Lock and download Apache Kafka's jars."""
