"""The two assets of a pipeline."""

from airflow.sdk import Asset, AssetAlias

from headrace.contract.pipeline import Pipeline


def published(pipeline: Pipeline) -> Asset:
    """New micro-batches may be there. What schedules the verify DAG."""
    return Asset(name=f"{pipeline.name}_published", uri=f"headrace://{pipeline.name}/published")


def verified(pipeline: Pipeline) -> Asset:
    """Everything published so far is accounted for. What consumers of the data should schedule on."""
    return Asset(name=f"{pipeline.name}_verified", uri=f"headrace://{pipeline.name}/verified")


def newly_verified(pipeline: Pipeline) -> AssetAlias:
    """What the task `report` emits `verified` through.

    Only if it proved something new, which a plain outlet could not say.
    """
    return AssetAlias(name=f"{pipeline.name}_newly_verified")
