"""Makes a zero-shot checkpoint from a LLaMA-family model. Training loads its base model with the same functions."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from notellm.checkpoint import ARCHITECTURE, Checkpoint
from notellm.encoder import NoteEncoder
from notellm.model import NoteLLM
from notellm.note import Note
from notellm.prompt import NotePrompt, PromptSettings
from notellm.saving import CheckpointFacts, refuse_existing, save_checkpoint
from notellm.vocabulary import categories_of, hashtags_by_frequency
from training.data import fingerprint
from training.errors import BaseModelError, DataError

EMB_TOKEN, PAD_TOKEN = "[EMB]", "[PAD]"
PACKAGE = "package:"
SEED = 20240304


@dataclass(frozen=True)
class InitialCheckpoint:
    """The settings of a zero-shot checkpoint.

    Attributes:
        base: a Hugging Face directory, a hub id, a `.gguf` file, or `package:NAME/FILE`.
        output: directory to write.
        name: names the model in answers and in the index.
        dim: dimensions of the embedding; 0 keeps the hidden size.
        notes: a sample of the platform's notes. The projection subtracts their mean hidden state and keeps the `dim` directions of largest
            variance. Without notes it is the identity, or random orthogonal directions.
        categories: the categories that may be generated; if empty, those of `notes`.
        dtype: dtype of the weights; None for the base's own.
        prompt: the template and the field limits.
    """

    base: str
    output: Path
    name: str
    dim: int = 0
    notes: Sequence[Note] = ()
    categories: tuple[str, ...] = ()
    dtype: torch.dtype | None = None
    prompt: PromptSettings = field(default_factory=PromptSettings)

    def make(self) -> Checkpoint:
        """Loads the base, adds `[EMB]` and a pad token, fits the projection and writes the directory.

        Raises:
            BaseModelError: the base does not exist or is not a LLaMA.
            DataError: the name or a category is invalid.
            CheckpointError: `output` is taken.
        """
        refuse_existing(self.output)
        facts = self._facts()
        causal_lm, tokenizer = load_base(self.base, self.dtype)
        add_tokens(causal_lm, tokenizer)
        hidden = causal_lm.config.hidden_size
        if self.dim > hidden:
            raise BaseModelError(f"--dim {self.dim} is larger than the model's hidden size of {hidden}")
        return save_checkpoint(self.output, NoteLLM(causal_lm, self._projection(causal_lm, tokenizer)), tokenizer, facts)

    def _facts(self) -> CheckpointFacts:
        """The content of the manifest, checked before the model is loaded."""
        try:
            return CheckpointFacts(
                name=self.name,
                base_model=base_name(self.base),
                prompt=self.prompt,
                categories=self.categories or categories_of(self.notes),
                hashtag_vocabulary=hashtags_by_frequency(self.notes),
                data_fingerprint=fingerprint(self.notes) if self.notes else None,
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(f"{'.'.join(map(str, first['loc']))} {first['input']!r}: {first['msg']}") from error

    def _projection(self, causal_lm: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> nn.Linear:
        hidden = causal_lm.config.hidden_size
        identity = linear(torch.eye(hidden))
        if not self.notes:
            return linear(random_directions(hidden, self.dim)) if self.dim else identity
        prompt = NotePrompt(tokenizer, tokenizer.added_tokens_encoder[EMB_TOKEN], self.prompt)
        encoder = NoteEncoder(NoteLLM(causal_lm, identity), prompt.embedding_prefix)
        states = encoder.encode([prompt.embedding(note) for note in prompt.tokenize(self.notes)], normalize=False)
        return centring_projection(torch.from_numpy(states), self.dim)


def load_base(base: str, dtype: torch.dtype | None) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Loads the base model and its tokenizer, without a chat template.

    Raises:
        BaseModelError: the base does not exist or is not a LLaMA.
    """
    path = base_path(base)
    source: dict[str, Any] = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    place = str(path.parent) if source else str(path if base.startswith(PACKAGE) else base)
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False, **source)
        # For a GGUF file, `AutoTokenizer` would read the whole file once more, only to choose this class.
        tokenizer_class = PreTrainedTokenizerFast if source else AutoTokenizer
        tokenizer = tokenizer_class.from_pretrained(place, trust_remote_code=False, **source)
    except Exception as error:  # whatever the library raises, the user needs the base's name
        raise BaseModelError(f"{base} cannot be loaded as a base model: {error}") from error
    if ARCHITECTURE not in (config.architectures or [ARCHITECTURE]) or config.model_type != "llama":
        raise BaseModelError(f"{base} is a {config.model_type} model: the base must be a {ARCHITECTURE}")
    try:
        model = LlamaForCausalLM.from_pretrained(
            place, config=config, dtype=dtype or config.dtype or torch.float32, use_safetensors=not source or None, **source
        )
    except Exception as error:  # as above
        raise BaseModelError(f"the weights of {base} cannot be loaded: {error}") from error
    tokenizer.chat_template = None
    return (_without_quantization(model) if source else model), tokenizer


def base_path(base: str) -> Path:
    """The path of a base model. `package:NAME/FILE` is a file in an installed Python package.

    Raises:
        BaseModelError: the package is not installed.
    """
    if not base.startswith(PACKAGE):
        return Path(base)
    name, _, file = base.removeprefix(PACKAGE).partition("/")
    package = importlib.util.find_spec(name)
    if package is None or package.origin is None:
        raise BaseModelError(f"{base}: the Python package {name} is not installed")
    return Path(package.origin).parent / file


def base_name(base: str) -> str:
    """The name of a base model in a checkpoint, without paths of the machine that made it."""
    path = base_path(base)
    return path.name if path.exists() else base


def centring_projection(states: Tensor, dim: int) -> nn.Linear:
    """A projection that subtracts the mean of hidden states and keeps the `dim` directions of largest variance.

    Zero-shot hidden states are all close to their mean (mean cosine 0.93 on the demo's notes); subtracting it spreads them.

    Args:
        states: (notes, hidden size).
        dim: number of directions; 0 keeps the space as it is.
    """
    mean = states.double().mean(0)
    if dim > len(states):
        raise BaseModelError(f"--dim {dim} needs a sample of at least {dim} notes, but there are {len(states)}")
    weight = torch.linalg.svd(states.double() - mean, full_matrices=False).Vh[:dim] if dim else torch.eye(len(mean)).double()
    return linear(weight, bias=-(weight @ mean))


def random_directions(hidden: int, dim: int) -> Tensor:
    """`dim` random orthogonal directions, (dim, hidden size), the same at every call."""
    generator = torch.Generator().manual_seed(SEED)
    directions: Tensor = torch.linalg.qr(torch.randn(hidden, dim, generator=generator, dtype=torch.float64)).Q
    return directions.T


def principal_projection(states: Tensor, dim: int) -> nn.Linear:
    """A projection without bias to the `dim` directions of largest variance that are orthogonal to the mean hidden state.

    Args:
        states: (notes, hidden size), at least `dim` + 1 notes.
        dim: number of directions.
    """
    if dim >= len(states):
        raise BaseModelError(
            f"{len(states)} notes have fewer than {dim} principal directions: use more notes or fewer dimensions"
        )
    mean = torch.nn.functional.normalize(states.double().mean(0), dim=0)
    without_mean = states.double() - (states.double() @ mean)[:, None] * mean
    weight = torch.linalg.svd(without_mean - without_mean.mean(0), full_matrices=False).Vh[:dim]
    return linear(weight - (weight @ mean)[:, None] * mean)


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer with this weight, (out, in), and bias, (out,)."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight.data = weight.float().contiguous()
    if bias is not None:
        linear.bias.data = bias.float()
    return linear


def add_tokens(causal_lm: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Adds `[EMB]`, and `[PAD]` if the base has no pad token of its own. Their rows of the tables become the mean row of the other tokens.

    Many bases have more rows than tokens, for the sake of speed. A new token takes one of these rows, which may be zero.
    """
    before = set(tokenizer.get_vocab().values())
    tokenizer.add_tokens([EMB_TOKEN], special_tokens=True)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    added = sorted(set(tokenizer.get_vocab().values()) - before)
    rows = int(causal_lm.config.vocab_size)
    if len(tokenizer) > rows:
        causal_lm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    known = sorted(before - set(range(rows, len(tokenizer))))
    # Rows that resizing has added for ids without a token, between those of the tokenizer.
    added += sorted(set(range(rows, len(tokenizer))) - set(added))
    tables: Any = {causal_lm.get_input_embeddings(), causal_lm.get_output_embeddings()}
    for table in tables:
        weight = table.weight.data
        weight[added] = weight[known].float().mean(0).to(weight.dtype)


def _without_quantization(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """A copy of the model that can be saved: a model loaded from GGUF keeps a quantiser that refuses to be saved."""
    for trace in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, trace):
            delattr(model.config, trace)
    model.config.architectures = [ARCHITECTURE]
    plain: Any = LlamaForCausalLM(model.config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.generation_config = model.generation_config
    plain.tie_weights()
    saved: LlamaForCausalLM = plain.to(model.dtype)
    return saved
