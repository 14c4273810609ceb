"""`Checkpoint`: the directory that training writes and the service reads. The two exchange nothing else.

It is a plain Hugging Face LLaMA directory in the sentence-transformers layout (Transformer, last-token Pooling, Dense,
Normalize), so other engines load it too, plus `notellm.json`, which says how to use it and holds a digest of every file.
Weights are read from safetensors only; pickles and code are never loaded. docs/checkpoint.md describes the format.
"""

import hashlib
import json
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from notellm.dense import read_dense
from notellm.errors import CheckpointError, NoteLLMError
from notellm.evidence import EvidenceWeights
from notellm.model import NoteLLM
from notellm.prompt import NotePrompt, PromptSettings
from notellm.token_vectors import TOKENS, TokenVectors, read_token_vectors

MANIFEST = "notellm.json"
DENSE = "2_Dense"
# Version 2 has token vectors, which readers of version 1 would ignore.
PLAIN_VERSION: Literal[1] = 1
TOKENS_VERSION: Literal[2] = 2
ARCHITECTURE = "LlamaForCausalLM"
# Files that need not be listed, because nothing reads them. Any other unlisted file could change how the model loads.
_HARMLESS = ("README.md", "LICENSE", "NOTICE", ".gitattributes", ".gitignore")
# transformers cannot load two models at the same time in one process: one of them misses its tied weights.
_LOADING = threading.Lock()


# One line without leading or trailing space: the model generates it token by token up to the end of the line.
Category = Annotated[str, Field(pattern=r"^\S(?:[^\r\n]*\S)?$", max_length=200)]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class FileDigest(BaseModel):
    """Size in bytes and SHA-256 (hex) of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, path: Path) -> "FileDigest":
        """The digest of the file at `path`."""
        with path.open("rb") as stream:
            return cls(size=path.stat().st_size, sha256=hashlib.file_digest(stream, "sha256").hexdigest())


class Manifest(BaseModel):
    """The content of `notellm.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1, 2] = PLAIN_VERSION
    name: ModelName = Field(description="Names the model in answers and in the index.")
    base_model: str = Field(min_length=1, description="The model this one was made from.")
    prompt: PromptSettings
    emb_token: str = "[EMB]"  # noqa: S105
    emb_token_id: int = Field(ge=0)
    hidden_size: int = Field(ge=1)
    dimensions: int = Field(ge=1)
    categories: tuple[Category, ...] = Field(default=(), description="The categories that may be generated.")
    hashtag_vocabulary: tuple[str, ...] = Field(default=(), description="Hashtags seen in the data, most frequent first.")
    data_fingerprint: str | None = Field(default=None, description="SHA-256 of the notes that the checkpoint was made with.")
    hashtag_evidence: EvidenceWeights | None = Field(
        default=None, description="How much the model and the stored notes count for a hashtag; not in the file if unknown."
    )
    metrics: dict[str, float] = Field(default_factory=dict)
    files: dict[str, FileDigest] = Field(description="Every file of the directory except this one.")
    digest: str = Field(default="", description="SHA-256 of this file's other fields, so that edits by hand are noticed.")


def manifest_digest(content: dict[str, object]) -> str:
    """SHA-256 (hex) of the fields of a `notellm.json`, except the digest itself."""
    sealed = {name: value for name, value in content.items() if name != "digest"}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint directory whose files were checked. Get one with `Checkpoint.open`."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str, *, verify: Literal["sha256", "size"] = "sha256") -> "Checkpoint":
        """Checks the directory without loading weights.

        Args:
            path: the checkpoint directory.
            verify: `sha256` reads every byte; `size` only compares sizes, for huge models on trusted disks.

        Raises:
            CheckpointError: a file is missing, truncated, edited or unexpected. The message names it and says what to do.
        """
        root = Path(path)
        if not root.is_dir():
            raise CheckpointError(root, "no such directory: make one with `notellm-train init-checkpoint`")
        checkpoint = cls(root, _read_manifest(root))
        checkpoint._verify_files(verify)
        checkpoint._verify_config()
        return checkpoint

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the content of the checkpoint."""
        return self.manifest.digest[:16]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer. It is checked: `[EMB]` has the listed id, and the pad token is not the eos token."""
        path = self.path / "tokenizer.json"
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.path, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # whatever the library raises, the user needs the file's name
            raise CheckpointError(path, f"cannot be loaded as a tokenizer: {error}") from error
        token, token_id = self.manifest.emb_token, self.manifest.emb_token_id
        if tokenizer.get_vocab().get(token) != token_id:  # convert_tokens_to_ids would give the id of the unknown token
            raise CheckpointError(path, f"{token} does not have the id {token_id} that {MANIFEST} gives it")
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
            raise CheckpointError(path, "needs a pad token that differs from its eos token, or the model never learns to stop")
        loaded: PreTrainedTokenizerBase = tokenizer
        return loaded

    def prompt(self) -> NotePrompt:
        """The prompt builder that the model was made for."""
        try:
            return NotePrompt(self.tokenizer, self.manifest.emb_token_id, self.manifest.prompt)
        except NoteLLMError as error:
            raise CheckpointError(self.path / "tokenizer.json", str(error)) from error

    def load_model(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> NoteLLM:
        """The model in evaluation mode.

        Raises:
            CheckpointError: the weights do not match the configuration.
        """
        try:
            with _LOADING:
                loaded: Any = LlamaForCausalLM.from_pretrained(
                    self.path, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
                )
        except Exception as error:  # whatever the library raises, the user needs the file's name
            raise CheckpointError(self.path, f"the weights cannot be loaded: {error}") from error
        causal_lm, report = loaded
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if names := sorted(map(str, report[problem])):
                raise CheckpointError(self.path, f"the weights do not match config.json: {problem} {', '.join(names[:5])}")
        model = NoteLLM(causal_lm, self.load_projection(), self.load_token_vectors())
        return model.to(device).eval().requires_grad_(requires_grad=False)

    def load_projection(self) -> nn.Linear:
        """Only the projection, in float32, for engines that load the layers themselves.

        Raises:
            CheckpointError: it does not match the manifest.
        """
        path = self.path / DENSE / "model.safetensors"
        hidden, dimensions = self.manifest.hidden_size, self.manifest.dimensions
        try:
            projection = read_dense(path)
        except SafetensorError as error:
            raise CheckpointError(path, f"is not a readable safetensors file: {error}") from error
        except RuntimeError as error:
            raise CheckpointError(path, f"does not project from {hidden} to {dimensions} values: {error}") from error
        if (projection.in_features, projection.out_features) != (hidden, dimensions):
            found = f"but from {projection.in_features} to {projection.out_features}"
            raise CheckpointError(path, f"does not project from {hidden} to {dimensions} values, {found}")
        return projection

    def load_token_vectors(self) -> TokenVectors | None:
        """The token vectors, in float32; None if the checkpoint has none.

        Raises:
            CheckpointError: they do not match the manifest.
        """
        path = self.path / DENSE / TOKENS
        if self.manifest.format_version == PLAIN_VERSION:
            return None
        try:
            tokens = read_token_vectors(path.parent)
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(path, f"cannot be used as token vectors: {error}") from error
        if tokens.weight.shape[1] != self.manifest.dimensions:
            raise CheckpointError(
                path, f"has vectors of length {tokens.weight.shape[1]}, but {MANIFEST} says {self.manifest.dimensions}"
            )
        return tokens

    def _verify_files(self, verify: Literal["sha256", "size"]) -> None:
        listed = self.manifest.files
        for name, digest in listed.items():
            path = self.path / name
            if not path.is_file():
                raise CheckpointError(path, f"is missing but {MANIFEST} lists it: copy it again")
            if (size := path.stat().st_size) != digest.size:
                raise CheckpointError(path, f"has {size:,} bytes instead of {digest.size:,}: copy it again")
            if verify == "sha256" and FileDigest.of(path) != digest:
                raise CheckpointError(
                    path, f"was changed after the checkpoint was written (SHA-256 differs from {MANIFEST}): copy it again"
                )
        for path in self.path.rglob("*"):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and name not in listed and name != MANIFEST and path.name not in _HARMLESS:
                raise CheckpointError(path, f"is not listed in {MANIFEST} and could change what is loaded: move it away")

    def _verify_config(self) -> None:
        path = self.path / "config.json"
        config = _read_json(path)
        if config.get("architectures") != [ARCHITECTURE]:
            raise CheckpointError(path, f"is for {config.get('architectures')}: only {ARCHITECTURE} is supported")
        if "auto_map" in config:
            raise CheckpointError(path, "asks to run its own code (auto_map): that is never allowed")
        if config.get("hidden_size") != self.manifest.hidden_size:
            raise CheckpointError(
                path, f"hidden_size is {config.get('hidden_size')}, but {MANIFEST} says {self.manifest.hidden_size}"
            )


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"is not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(path, "is not a JSON object")
    return content


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            path, "is missing: this is not a NoteLLM checkpoint. Make one with `notellm-train init-checkpoint`"
        )
    content = _read_json(path)
    if (version := content.get("format_version")) not in (PLAIN_VERSION, TOKENS_VERSION):
        raise CheckpointError(
            path, f"has format version {version!r}; this release reads versions {PLAIN_VERSION} and {TOKENS_VERSION}"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(path, f"field {where}: {first['msg']}") from error
    if manifest.digest != manifest_digest(content):
        raise CheckpointError(path, "was edited by hand: copy the original, or write the checkpoint again with `notellm-train`")
    for name in manifest.files:
        if (
            PurePosixPath(name).is_absolute()
            or ".." in PurePosixPath(name).parts
            or not name.endswith((".json", ".safetensors"))
        ):
            raise CheckpointError(
                path, f"lists {name!r}: a checkpoint may contain only .json and .safetensors files inside its directory"
            )
    return manifest


def vector_name_of(checkpoint: Checkpoint) -> str:
    """The name of a checkpoint's vectors in an index. Only vectors with the same name can be compared."""
    return f"{checkpoint.manifest.name}-{checkpoint.fingerprint}"
