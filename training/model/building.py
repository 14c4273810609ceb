"""Builds a `TrainingModel` from settings: loads the base model, adds projection and adapters, and selects the weights to train."""

import copy
import logging
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from notellm.model import NoteLLM
from notellm.prompt import NotePrompt
from notellm.token_vectors import TokenVectors
from training.config import LoraSettings, TrainingConfig
from training.data import Dataset
from training.errors import BaseModelError, ConfigError
from training.model.behaviour import BehaviourFit, Head, blank_tokens
from training.model.frozen import FrozenLayers
from training.model.initialize import EMB_TOKEN, add_tokens, linear, load_base, principal_projection, random_directions
from training.model.model import TrainingModel
from training.model.shared_prefix import SHARED_PREFIX_ATTENTION
from training.model.states import shared_over_processes, state_encoder
from training.model.token_terms import token_classes

logger = logging.getLogger(__name__)
PRINCIPAL_NOTES = 256


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


def build(config: TrainingConfig, dataset: Dataset, *, fitted: bool = True) -> Built:
    """Loads the base and prepares it for training.

    Args:
        config: settings of the run.
        dataset: its training notes and their behaviour give the projection and the token vectors their start.
        fitted: false for a model whose weights will be loaded from a state: its projection and token vectors have only the right shape.

    Raises:
        BaseModelError: the base cannot be used, or its hidden size is smaller than the requested dimensions.
        ConfigError: the settings do not match the base.
    """
    causal_lm, tokenizer = load_base(config.model.base, torch.float32)
    add_tokens(causal_lm, tokenizer)
    prompt = NotePrompt(tokenizer, tokenizer.added_tokens_encoder[EMB_TOKEN], config.model.prompt)
    projection, tokens = _head(config, causal_lm, tokenizer, prompt, dataset, fitted=fitted)
    if config.method.frozen_layers >= causal_lm.config.num_hidden_layers:
        raise ConfigError(
            f"method.frozen_layers is {config.method.frozen_layers}, but the base has only {causal_lm.config.num_hidden_layers} layers"
        )
    packed = is_packed(config)
    if packed:
        causal_lm.set_attn_implementation(SHARED_PREFIX_ATTENTION)
    adapters = _choose_trained(config, causal_lm, prompt)
    for part in (projection, tokens):
        if part is not None:
            part.requires_grad_(requires_grad=True)
    if config.compute.gradient_checkpointing:
        causal_lm.gradient_checkpointing_enable({"use_reentrant": False})
    model = TrainingModel(
        NoteLLM(causal_lm, projection, tokens),
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


def _head(
    config: TrainingConfig, causal_lm: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, prompt: NotePrompt, dataset: Dataset, *,
    fitted: bool,
) -> tuple[nn.Linear, TokenVectors | None]:  # fmt: skip
    """The projection and the token vectors before training."""
    model, hidden = config.model, int(causal_lm.config.hidden_size)
    if model.dimensions > hidden:
        raise BaseModelError(f"model.dimensions {model.dimensions} is larger than the base's hidden size of {hidden}")
    classes = token_classes(tokenizer, int(causal_lm.config.vocab_size)) if model.token_vectors else None
    if not fitted or model.projection == "random":
        tokens = blank_tokens(prompt, classes, dataset, model.dimensions) if classes is not None else None
        return linear(random_directions(hidden, model.dimensions)), tokens
    encode = state_encoder(causal_lm, prompt, config.compute.precision)
    if model.projection == "behaviour":
        share = shared_over_processes(encode)
        head = BehaviourFit(share, prompt, dataset, classes=classes, most_notes=model.projection_notes).solve(model.dimensions)
        return head.projection, head.tokens
    notes = [dataset.notes[note] for note in sorted(dataset.split.train)]
    count = model.projection_notes or PRINCIPAL_NOTES
    sample = notes[:: max(1, len(notes) // count)][:count]
    return principal_projection(torch.from_numpy(encode(sample)), model.dimensions), None


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


def merged(built: Built) -> LlamaForCausalLM:
    """The trained language model for inference: a copy with its adapters merged, or the model itself if it has none."""
    causal_lm: Any = (
        copy.deepcopy(built.adapters).merge_and_unload() if built.adapters is not None else built.model.note_llm.causal_lm
    )
    causal_lm.set_attn_implementation("sdpa")  # training packs batches for an attention of its own
    language_model: LlamaForCausalLM = causal_lm.eval()
    return language_model


def refit(config: TrainingConfig, dataset: Dataset, built: Built) -> None:
    """Solves for projection and token vectors with the trained model's hidden states, and keeps the better ones on validation notes.

    Args:
        config: settings of the run.
        dataset: its training notes are fitted.
        built: the trained model; its projection and token vectors may be replaced.
    """
    note_llm = built.model.note_llm
    causal_lm = merged(built)
    rows = int(causal_lm.config.vocab_size)
    classes = token_classes(built.tokenizer, rows) if note_llm.tokens is not None else None
    fit = BehaviourFit(state_encoder(causal_lm, built.prompt, config.compute.precision), built.prompt, dataset, classes=classes)
    solved, trained = fit.solve(config.model.dimensions), Head(note_llm.projection, note_llm.tokens)
    recalls = fit.recall(trained), fit.recall(solved)
    if recalls[0] is not None and recalls[1] is not None:
        kept = "solved" if recalls[1] > recalls[0] else "trained"
        logger.info(
            "recall@%d on validation notes: trained %.4f, solved again %.4f: the %s projection stays", fit.k, *recalls, kept
        )
        if kept == "trained":
            return
    note_llm.projection, note_llm.tokens = solved.projection, solved.tokens
