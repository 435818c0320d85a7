"""Apache Kafka's jars: which ones, and how they are fetched."""
