"""Who can reach an address that the service listens on, whether that was meant, and which web pages may ask."""

import re
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name other than `localhost` may mean any address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(host: str, *, keys: bool, anonymous: bool) -> None:
    """Nobody is let in by accident.

    Raises:
        ValueError: other machines would be let in without a key, and nobody has said so; or it was said both ways.
    """
    if keys and anonymous:
        raise ValueError("NOTELLM_API_KEYS_FILE and NOTELLM_ALLOW_ANONYMOUS contradict each other: drop one")
    if not keys and not anonymous and not is_loopback(host):
        raise ValueError(
            f"NOTELLM_HOST={host} is reached by other machines, and everybody there could read and write everything: set "
            "NOTELLM_API_KEYS_FILE (`notellm-serve keygen NAME --scope read` makes a key), or NOTELLM_ALLOW_ANONYMOUS=true where "
            "something else decides who reaches it"
        )


def read_origins(text: str) -> list[str]:
    """Origins, separated by commas.

    Raises:
        ValueError: one is none; `*` is not taken, since any page could then use what the browser's network can reach.
    """
    origins = [part.strip() for part in text.split(",") if part.strip()]
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?", origin):
            raise ValueError(f"{origin} is no origin: write each as https://host or https://host:port, in lower case")
    return origins
