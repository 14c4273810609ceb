"""`Settings`: everything an operator can set, read from `NOTELLM_*` environment variables and checked together."""

from typing import Self

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from service.settings.engine import check_engine
from service.settings.exposure import check_exposure, read_origins
from service.settings.http_values import refuse_credentials, refuse_unsendable
from service.settings.limits import LimitSettings
from service.settings.network import NetworkSettings
from service.settings.qdrant import check_qdrant
from service.settings.root_path import clean_root_path
from service.settings.served_model import ModelSettings
from service.settings.storage import StorageSettings

PREFIX = "NOTELLM_"


# The fields of the last base come first.
class Settings(LimitSettings, StorageSettings, NetworkSettings, ModelSettings):
    """Settings of `notellm-serve`. Set them as environment variables: `checkpoint` is `NOTELLM_CHECKPOINT`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    @field_validator("remote_url", "qdrant_url")
    @classmethod
    def _has_no_credentials(cls, url: str | None) -> str | None:
        return refuse_credentials(url)

    @field_validator("remote_api_key", "qdrant_api_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        return refuse_unsendable(key)

    @field_validator("root_path")
    @classmethod
    def _can_be_told_from_a_path(cls, path: str) -> str:
        return clean_root_path(path)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        read_origins(origins)
        return origins

    @model_validator(mode="after")
    def _lets_in_who_is_meant(self) -> Self:
        check_exposure(self.host, keys=bool(self.api_keys_file), anonymous=self.allow_anonymous)
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_qdrant(self)
        check_engine(self)
        return self
