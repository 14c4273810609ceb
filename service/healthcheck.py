"""The container's health check, which needs no other program: exits with 0 if `/health/ready` on this machine answers 200.

python -m service.healthcheck
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

TIMEOUT_SECONDS = 4


def failure(port: int) -> str | None:
    """Returns why the service on this machine should get no traffic, or None if it is ready."""
    # Connects straight to loopback: a client that reads HTTP_PROXY would send the request out of the container.
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        text = answer.read(1000).decode(errors="replace")
    except (OSError, HTTPException) as error:
        return f"no answer on port {port}: {error!r}"
    finally:
        connection.close()
    return None if answer.status == HTTPStatus.OK else f"{answer.status}: {text}"


if __name__ == "__main__":
    sys.exit(failure(int(os.environ.get("NOTELLM_PORT", "8000"))))
