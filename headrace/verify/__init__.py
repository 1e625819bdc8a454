"""Re-judges what was published, with code that shares nothing with Spark."""
