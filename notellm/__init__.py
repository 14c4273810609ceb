"""The NoteLLM model: notes, prompts, checkpoints and the custom forward pass, shared by training and service.

Each name is imported on first use: torch takes seconds to import, and a command that only calls a service does not need it.
"""

from typing import TYPE_CHECKING

from notellm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from notellm.checkpoint import Checkpoint as Checkpoint, Manifest as Manifest
    from notellm.encoder import NoteEncoder as NoteEncoder
    from notellm.errors import (
        CheckpointError as CheckpointError,
        NoteError as NoteError,
        NoteLLMError as NoteLLMError,
        PromptError as PromptError,
        TokenizerError as TokenizerError,
    )
    from notellm.model import NoteLLM as NoteLLM
    from notellm.note import Note as Note, NoteText as NoteText
    from notellm.prompt import NotePrompt as NotePrompt, PromptSettings as PromptSettings, TokenizedNote as TokenizedNote
else:
    __getattr__, __all__ = lazy_exports(
        __name__,
        {
            ".checkpoint": ("Checkpoint", "Manifest"),
            ".encoder": ("NoteEncoder",),
            ".errors": ("CheckpointError", "NoteError", "NoteLLMError", "PromptError", "TokenizerError"),
            ".model": ("NoteLLM",),
            ".note": ("Note", "NoteText"),
            ".prompt": ("NotePrompt", "PromptSettings", "TokenizedNote"),
        },
    )
