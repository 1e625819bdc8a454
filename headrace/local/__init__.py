"""The embedded stack: JVM, jars, broker and Airflow on 127.0.0.1.

And the compose stack as the host sees it.
"""
