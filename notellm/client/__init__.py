"""A client of the service, synchronous and asynchronous. It needs neither torch nor transformers: `pip install notellm[client]`."""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from notellm.client.async_client import AsyncNoteClient as AsyncNoteClient
    from notellm.client.problems import (
        BadRequest as BadRequest,
        Busy as Busy,
        ClientError as ClientError,
        DeadlineMissed as DeadlineMissed,
        Failed as Failed,
        InvalidRequest as InvalidRequest,
        NotAllowed as NotAllowed,
        NoteNotFound as NoteNotFound,
        NotTheService as NotTheService,
        ServiceProblem as ServiceProblem,
        Unreachable as Unreachable,
    )
    from notellm.client.sync_client import NoteClient as NoteClient
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".async_client": ("AsyncNoteClient",),
            ".problems": (
                *(
                    "BadRequest",
                    "Busy",
                    "ClientError",
                    "DeadlineMissed",
                    "Failed",
                    "InvalidRequest",
                    "NotAllowed",
                    "NoteNotFound",
                ),
                *("NotTheService", "ServiceProblem", "Unreachable"),
            ),
            ".sync_client": ("NoteClient",),
        },
    )
