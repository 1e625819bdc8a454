"""Whether Airflow counts one of its services as healthy, by its heartbeat; for a container's health check.

python heartbeat.py dag_processor
"""

import json
import sys
import urllib.request

HEALTH = "http://api-server:8080/api/v2/monitor/health"

if __name__ == "__main__":
    with urllib.request.urlopen(HEALTH, timeout=5) as answer:
        sys.exit(json.load(answer)[sys.argv[1]]["status"] != "healthy")
