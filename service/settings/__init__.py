"""Settings: everything that an operator can set."""

from service.settings.exposure import read_origins
from service.settings.limits import MIB
from service.settings.loading import CLIENT_KEY, load_settings
from service.settings.settings import PREFIX, Settings

__all__ = ["CLIENT_KEY", "MIB", "PREFIX", "Settings", "load_settings", "read_origins"]
