"""The path under which a proxy offers the service: `NOTELLM_ROOT_PATH`."""

# First parts of the service's own paths. With a prefix that begins like one, nobody could tell the prefix from the path.
OWN_PATHS = frozenset({"notes", "v1", "admin", "model", "metrics", "health", "docs", "openapi.json", "playground"})


def clean_root_path(path: str) -> str:
    """Returns the path without a slash at its end; empty for `/`.

    Raises:
        ValueError: the path begins like one of the service's own, or clients would resolve it to another one.
    """
    parts = path.strip("/").split("/")
    if parts[0] in OWN_PATHS:
        raise ValueError(f"/{parts[0]} begins the service's own paths, so it could mean both: use another path")
    if {".", ".."} & set(parts):
        raise ValueError("has a part `.` or `..`, which clients resolve before they ask: write the path without it")
    return path.rstrip("/")
