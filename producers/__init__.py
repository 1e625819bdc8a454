"""What writes to Kafka."""
