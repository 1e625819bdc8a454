"""What Airflow loads as plugins: each module of this folder."""
