"""Builds a `TrainingModel` from settings: loads the base model, adds projection and adapters, and selects the weights to train."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from notellm.encoder import NoteEncoder
from notellm.model import NoteLLM
from notellm.note import Note
from notellm.prompt import NotePrompt
from training.config import LoraSettings, TrainingConfig
from training.errors import BaseModelError, ConfigError
from training.model.frozen import FrozenLayers
from training.model.initialize import EMB_TOKEN, add_tokens, linear, load_base, principal_projection, random_directions
from training.model.model import TrainingModel
from training.model.shared_prefix import SHARED_PREFIX_ATTENTION


@dataclass(frozen=True)
class Built:
    """What a run trains.

    Attributes:
        model: the model, including its adapters, if any.
        adapters: the same weights as a PEFT model; None for full fine-tuning.
        tokenizer, prompt: tokenizer with `[EMB]` and a pad token, and the prompt builder that uses it.
        packed: whether batches are packed.
    """

    model: TrainingModel
    adapters: PeftModel | None
    tokenizer: PreTrainedTokenizerBase
    prompt: NotePrompt
    packed: bool


def build(config: TrainingConfig, notes: Sequence[Note]) -> Built:
    """Loads the base and prepares it for training.

    Args:
        config: settings of the run.
        notes: training notes, for a projection that starts with their principal directions.

    Raises:
        BaseModelError: the base cannot be used, or its hidden size is smaller than the requested dimensions.
        ConfigError: the settings do not match the base.
    """
    causal_lm, tokenizer = load_base(config.model.base, torch.float32)
    add_tokens(causal_lm, tokenizer)
    prompt = NotePrompt(tokenizer, tokenizer.added_tokens_encoder[EMB_TOKEN], config.model.prompt)
    projection = _projection(config, causal_lm, prompt, notes)
    if config.method.frozen_layers >= causal_lm.config.num_hidden_layers:
        raise ConfigError(
            f"method.frozen_layers is {config.method.frozen_layers}, but the base has only {causal_lm.config.num_hidden_layers} layers"
        )
    packed = is_packed(config)
    if packed:
        causal_lm.set_attn_implementation(SHARED_PREFIX_ATTENTION)
    adapters = _choose_trained(config, causal_lm, prompt)
    projection.requires_grad_(requires_grad=True)
    if config.compute.gradient_checkpointing:
        causal_lm.gradient_checkpointing_enable({"use_reentrant": False})
    model = TrainingModel(
        NoteLLM(causal_lm, projection),
        config.loss.alpha,
        contrastive=config.loss.contrastive,
        temperature=config.loss.temperature,
        frozen=FrozenLayers(causal_lm.model, config.method.frozen_layers) if config.compute.cache_frozen_layers else None,
    )
    return Built(model, adapters, tokenizer, prompt, packed)


def is_packed(config: TrainingConfig) -> bool:
    """Whether batches are packed: as `compute.packed` says, otherwise if that is needed or faster."""
    compute = config.compute
    wanted = compute.packed if compute.packed is not None else compute.cache_frozen_layers or not torch.cuda.is_available()
    return wanted and not compute.fsdp


def _projection(config: TrainingConfig, causal_lm: LlamaForCausalLM, prompt: NotePrompt, notes: Sequence[Note]) -> nn.Linear:
    hidden, dimensions = int(causal_lm.config.hidden_size), config.model.dimensions
    if dimensions > hidden:
        raise BaseModelError(f"model.dimensions {dimensions} is larger than the base's hidden size of {hidden}")
    if config.model.projection == "random":
        return linear(random_directions(hidden, dimensions))
    step = max(1, len(notes) // config.model.projection_notes)
    sample = notes[::step][: config.model.projection_notes]
    encoder = NoteEncoder(NoteLLM(causal_lm, linear(torch.eye(hidden))), prompt.embedding_prefix)
    states = encoder.encode([prompt.embedding(note) for note in prompt.tokenize(sample)], normalize=False)
    return principal_projection(torch.from_numpy(states), dimensions)


def _choose_trained(config: TrainingConfig, causal_lm: LlamaForCausalLM, prompt: NotePrompt) -> PeftModel | None:
    """Sets `requires_grad` of the causal model's weights, and adds the adapters."""
    frozen = config.method.frozen_layers
    if isinstance(config.method, LoraSettings):
        return _with_adapters(config, config.method, causal_lm, prompt.emb_token_id)
    causal_lm.requires_grad_(requires_grad=frozen == 0)
    if config.loss.alpha == 0 and not causal_lm.config.tie_word_embeddings:
        causal_lm.lm_head.requires_grad_(requires_grad=False)  # without the generative loss it never gets a gradient
    layers: Any = causal_lm.model.layers
    for module in (*layers[frozen:], causal_lm.model.norm):
        module.requires_grad_(requires_grad=True)
    return None


def _with_adapters(config: TrainingConfig, lora: LoraSettings, causal_lm: LlamaForCausalLM, emb_token_id: int) -> PeftModel:
    torch.manual_seed(config.seed)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=list(lora.modules),
        layers_to_transform=list(range(lora.frozen_layers, causal_lm.config.num_hidden_layers)),
        trainable_token_indices=[emb_token_id] if lora.train_emb_row else None,
        task_type="CAUSAL_LM",
    )
    try:
        adapted: PeftModel = get_peft_model(causal_lm, settings)
    except ValueError as error:
        raise ConfigError(f"method.modules {', '.join(lora.modules)}: {error}") from error
    return adapted
