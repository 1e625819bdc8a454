"""Spark applications and the DataFrame functions they are made of."""
