"""Re-judges what was published, with another client, another parser and another engine than the Spark app."""
