"""`check_qdrant`: whether the settings of a Qdrant server fit together."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from service.settings.settings import Settings

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def check_qdrant(settings: "Settings") -> None:
    """Checks address, key, certificates and copies.

    Raises:
        ValueError: two settings contradict each other, or the key would cross the network unencrypted.
    """
    if settings.qdrant_api_key and not settings.qdrant_url:
        raise ValueError("NOTELLM_QDRANT_API_KEY is set without NOTELLM_QDRANT_URL: set the address too, or drop the key")
    if settings.qdrant_api_key and not (_is_safe(settings.qdrant_url) or settings.qdrant_plain_api_key):
        raise ValueError(
            "NOTELLM_QDRANT_API_KEY would cross the network unencrypted: set an https:// address, or NOTELLM_QDRANT_PLAIN_API_KEY=true"
        )
    if settings.qdrant_ca_file and not (settings.qdrant_url or "").startswith("https://"):
        raise ValueError("NOTELLM_QDRANT_CA_FILE is set without an https:// NOTELLM_QDRANT_URL: change the address, or drop it")
    if settings.qdrant_write_consistency > settings.qdrant_replication:
        raise ValueError("NOTELLM_QDRANT_WRITE_CONSISTENCY is above NOTELLM_QDRANT_REPLICATION: no write could be acknowledged")


def _is_safe(url: str | None) -> bool:
    """Whether nobody else can read what is said to the server."""
    address = urlsplit(url or "")
    return address.scheme == "https" or address.hostname in _LOOPBACK
