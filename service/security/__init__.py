"""API keys and rate limits: who may call the service, and how often."""

from service.security.key_file import KeyFile
from service.security.keygen import keygen
from service.security.keys import ApiKey, KeyRing, Rates, Scope
from service.security.rate_limit import RateLimits

__all__ = ["ApiKey", "KeyFile", "KeyRing", "RateLimits", "Rates", "Scope", "keygen"]
