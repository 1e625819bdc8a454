"""A new pipeline: its two files, ready to run."""

import keyword
import re
from pathlib import Path
from string import Template

from headrace.contract.pipeline import Pipeline
from headrace.errors import UsageError

HERE = Path(__file__).parent


def write_pipeline(dags: Path, name: str) -> list[Path]:
    """Write `<name>.toml` and `<name>.py`; returns their paths.

    Raises `UsageError` if the name won't do or is taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} can't be a pipeline's name: small letters, digits and _, starting with a letter. It names files, DAGs and a folder."
        )
    paths = [dags / f"{name}.toml", dags / f"{name}.py"]
    if taken := [str(path) for path in paths if path.exists()]:
        raise UsageError(
            f"{' and '.join(taken)} exist{'s' * (len(taken) == 1)} already. Choose another name, or edit what is there."
        )
    words = {"name": name, "title": name.replace("_", " ").capitalize(), "topic": name.replace("_", "-")}
    for path in paths:
        template = Template((HERE / f"pipeline{path.suffix}.template").read_text())
        path.write_text(template.substitute(words))
    Pipeline.load(paths[0])
    return paths
