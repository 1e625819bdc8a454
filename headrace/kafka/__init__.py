"""Kafka: offsets, and everything that talks to a cluster. Nothing here knows pipelines, ledgers or verify."""
