"""Checks of who can reach the service: the address that it listens on, and the web pages that may call it."""

import re
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than `localhost` may stand for any address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(host: str, *, keys: bool, anonymous: bool) -> None:
    """Checks that the service is not open to other machines by accident.

    Args:
        host: the address that the service listens on.
        keys: whether API keys are set.
        anonymous: whether the operator allows access without a key.

    Raises:
        ValueError: other machines could use the service without a key, and the operator has not allowed it; or both `keys` and
            `anonymous` are set.
    """
    if keys and anonymous:
        raise ValueError("NOTELLM_API_KEYS_FILE and NOTELLM_ALLOW_ANONYMOUS contradict each other: drop one")
    if not keys and not anonymous and not is_loopback(host):
        raise ValueError(
            f"other machines can reach NOTELLM_HOST={host}, and everybody there could read and write everything: set "
            "NOTELLM_API_KEYS_FILE (`notellm-serve keygen NAME --scope read` makes a key), or NOTELLM_ALLOW_ANONYMOUS=true if "
            "something else restricts who can reach the service"
        )


def read_origins(text: str) -> list[str]:
    """Splits a list of origins, separated by commas.

    Raises:
        ValueError: a part is not an origin. `*` is refused, too: with it, any web page could use a service that only the browser's
            network can reach.
    """
    origins = [part.strip() for part in text.split(",") if part.strip()]
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?", origin):
            raise ValueError(f"{origin} is not an origin: write each as https://host or https://host:port, in lower case")
    return origins
