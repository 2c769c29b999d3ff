"""S3 by rclone, which the locked Python environment brings along; a bucket is a folder."""

import os
import sys
from pathlib import Path

from tools.devstack.component import Component, http_check
from tools.devstack.stack import BUCKET, Stack

REGION = "us-east-1"


def component(stack: Stack) -> Component:
    port = stack.ports.s3
    buckets = stack.folder / "data" / "s3"
    return Component(
        name="s3",
        command=(
            str(venv_program("rclone")),
            "serve",
            "s3",
            "--addr",
            f"127.0.0.1:{port}",
            "--config",
            "/dev/null",
            "--vfs-cache-mode",
            "off",
            "--log-level",
            "NOTICE",
            str(buckets),
        ),
        environment={
            "PATH": os.defpath,
            "HOME": str(stack.folder),
            # rclone reads this list as CSV, hence the quotes. A command line would show the keys to every user.
            "RCLONE_AUTH_KEY": f'"{stack.secrets.s3_access_key},{stack.secrets.s3_secret_key}"',
        },
        ports={"s3": port},
        url=endpoint(stack),
        # A request without a signature is refused (rclone 1.75 says 400, S3 says 403): it serves, and it checks.
        check=lambda: http_check(endpoint(stack), expected=frozenset({400, 403})),
        prepare=lambda: (buckets / BUCKET).mkdir(parents=True, exist_ok=True),
        start_patience_s=20,
    )


def endpoint(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.ports.s3}"


def venv_program(name: str) -> Path:
    """A program of the locked environment (`uv sync` puts it there)."""
    return Path(sys.prefix) / "bin" / name
