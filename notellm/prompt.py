"""`NotePrompt`: the only place where a note becomes token ids.

`tokenize` tokenises each field of a note once and cuts each field to its own limit. Every prompt is put together from those ids
and from the ids of literal texts, which are computed once. Tokens are joined, never text, so that no merge crosses from the prompt
into a field or into `[EMB]`. The paper's templates come from arXiv 2403.01744, section 3.2, and from the authors' code. `shared-en`
is ours: its prompts begin alike, so that an engine can reuse what it computed for one prompt of a note in the note's other prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from notellm.errors import PromptError
from notellm.hashtags import MAX_COUNT, MIN_COUNT
from notellm.note import NoteText
from notellm.own_tokens import PromptFrame
from notellm.tokenizer import PlainTokenizer

if TYPE_CHECKING:  # importing transformers takes seconds, and commands without a model do not need it
    from transformers import PreTrainedTokenizerBase

# The paper calls a note's hashtags its `topic`; `Note` and the API call them `hashtags`: service/notes/fields.py translates.
FieldName = Literal["title", "topic", "content"]
PromptVersion = Literal["paper-en", "paper-zh", "shared-en"]


@dataclass(frozen=True)
class PromptTemplate:
    """The literal texts of one prompt version. `{count}` is the number of hashtags to generate.

    Fields appear in the order of `labels`, the title first.
    """

    version: PromptVersion
    category_instruction: str
    hashtag_instruction: str
    labels: dict[FieldName, str]
    field_lead: str
    field_end: str
    note_end: str
    compression: str
    after_emb: str
    category_guidance: str
    hashtag_guidance: str
    hashtag_separator: str
    output_lead: str
    empty_topic: bool = True
    """Whether the prompt of a note without hashtags has the topic label anyway, as in the paper."""


SHARED_INSTRUCTION = (
    "Extract the note information in json format, compress it into one word for recommendation, "
    "and generate the category or topics of the note. {"
)
TEMPLATES: dict[PromptVersion, PromptTemplate] = {
    "paper-en": PromptTemplate(
        version="paper-en",
        category_instruction="Extract the note information in json format, compress it into one word for recommendation, "
        "and generate the category of the note. {",
        hashtag_instruction="Extract the note information in json format, compress it into one word for recommendation, "
        "and generate {count} topics of the note. {",
        labels={"title": "'title':", "topic": ", 'topic':", "content": ", 'content':"},
        field_lead=" ",
        field_end="",
        note_end="}.",
        compression=' The compression word is:"',
        after_emb='".',
        category_guidance=" The category is:",
        hashtag_guidance=" The {count} topics are:",
        hashtag_separator=", ",
        output_lead=" ",
    ),
    "paper-zh": PromptTemplate(
        version="paper-zh",
        category_instruction="笔记：{",
        hashtag_instruction="笔记：{",
        labels={"title": '"标题":"', "topic": '"话题":"', "content": '"内容":"'},
        field_lead="",
        field_end='",',
        note_end="}，",
        compression="压缩为一个词：“",
        after_emb="”。",
        category_guidance="生成笔记类目：",
        hashtag_guidance="生成笔记{count}个话题：",
        hashtag_separator=",",
        output_lead="",
    ),
    # A note's prompts differ as late as possible: after the content if the note has hashtags, else after `[EMB]`.
    "shared-en": PromptTemplate(
        version="shared-en",
        category_instruction=SHARED_INSTRUCTION,
        hashtag_instruction=SHARED_INSTRUCTION,
        labels={"title": "'title':", "content": ", 'content':", "topic": ", 'topic':"},
        field_lead=" ",
        field_end="",
        note_end="}.",
        compression=' The compression word is:"',
        after_emb='".',
        category_guidance=" The category is:",
        hashtag_guidance=" The {count} topics are:",
        hashtag_separator=", ",
        output_lead=" ",
        empty_topic=False,
    ),
}


class PromptSettings(BaseModel):
    """The template and the number of tokens kept of each field. A checkpoint is served with the settings of its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: PromptVersion = Field(default="paper-en", description="Template; `shared-en` uses one instruction for all tasks.")
    title_tokens: int = Field(default=20, ge=1, le=4096, description="Tokens kept of the title (paper: 20).")
    topic_tokens: int = Field(default=40, ge=1, le=4096, description="Tokens kept of the hashtags (the paper sets no limit).")
    content_tokens: int = Field(default=80, ge=1, le=4096, description="Tokens kept of the content (paper: 80).")


@dataclass(frozen=True)
class TokenizedNote:
    """A note's fields as token ids, cut to their limits.

    Attributes:
        title, topic, content: the ids that are kept; `topic` holds the note's hashtags.
        full_lengths: tokens of each field before it was cut.
    """

    title: tuple[int, ...]
    topic: tuple[int, ...]
    content: tuple[int, ...]
    full_lengths: dict[FieldName, int] = field(hash=False)

    @property
    def truncated(self) -> tuple[FieldName, ...]:
        """The fields that lost tokens, in prompt order."""
        return tuple(name for name, length in self.full_lengths.items() if len(getattr(self, name)) < length)


@dataclass(frozen=True)
class TrainingExample:
    """A prompt with its answer, `<Output>[EOS]`.

    Attributes:
        ids: opening, note, compression word, guidance, output, end of sequence.
        opening: number of ids that all prompts of the same task start with.
        embedding: index of the token before `[EMB]`, whose hidden state is the note's embedding.
        output: index of the first output token. Generation is trained on the tokens from there to the end. `len(ids)` if there is
            no output.
    """

    ids: tuple[int, ...]
    opening: int
    embedding: int
    output: int


class NotePrompt:
    """Builds the token ids of the embedding, category and hashtag prompts.

    Args:
        tokenizer: the checkpoint's tokenizer, with `emb_token_id` in its vocabulary.
        emb_token_id: id of the `[EMB]` token.
        settings: the template and the field limits.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", emb_token_id: int, settings: PromptSettings | None = None) -> None:
        self.settings = settings or PromptSettings()
        self.template = TEMPLATES[self.settings.version]
        self.emb_token_id = emb_token_id
        self.eos_token_id: int | None = tokenizer.eos_token_id
        self.plain = PlainTokenizer(tokenizer)
        self._limits: dict[FieldName, int] = {
            "title": self.settings.title_tokens,
            "topic": self.settings.topic_tokens,
            "content": self.settings.content_tokens,
        }
        bos = tokenizer.bos_token_id
        self._bos: tuple[int, ...] = () if bos is None else (bos,)
        self._start = cache(lambda text: tuple(self.plain.encode_start(text)))
        self._literal = cache(lambda text: tuple(self.plain.encode(text)))
        self.embedding_prefix = self._opening(self.template.category_instruction)

    @property
    def frame(self) -> PromptFrame:
        """The literal tokens of the embedding prompt."""
        labels = [label for name, label in self.template.labels.items() if name != "title"]
        after_title = tuple(self._literal(self.template.field_end + label) for label in labels)
        return PromptFrame(opening=self.embedding_prefix, labels=after_title, closing=self._compression)

    @property
    def max_embedding_tokens(self) -> int:
        """The length of the longest embedding prompt."""
        title, topic, content = ((0,) * limit for limit in self._limits.values())
        filled = TokenizedNote(title, topic, content, full_lengths=dict(self._limits))
        return len(self.embedding(filled))

    def tokenize(self, notes: Sequence[NoteText]) -> list[TokenizedNote]:
        """The notes' fields as ids. Do not call it on the event loop: the text of one request takes milliseconds."""
        lead, separator = self.template.field_lead, self.template.hashtag_separator
        texts: list[str] = []
        for note in notes:
            topic = separator.join(note.all_hashtags)
            texts += [lead + text if text else "" for text in (note.plain_title, topic, note.plain_content)]
        ids = self.plain.encode_batch(texts)
        return [self._cut(*ids[start : start + 3]) for start in range(0, len(ids), 3)]

    def embedding(self, note: TokenizedNote) -> list[int]:
        """The category prompt up to the token before `[EMB]`, whose hidden state is the note's embedding."""
        return [*self._opening(self.template.category_instruction), *self._fields(note, topic=True), *self._compression]

    def category(self, note: TokenizedNote) -> list[int]:
        """The prompt whose continuation is the note's category."""
        return [*self.embedding(note), self.emb_token_id, *self._guidance(self.template.category_guidance)]

    def hashtags(self, note: TokenizedNote, count: int) -> list[int]:
        """The prompt whose continuation is `count` hashtags. It does not contain the note's own hashtags.

        Raises:
            PromptError: `count` is not between 1 and 10.
        """
        if not MIN_COUNT <= count <= MAX_COUNT:
            raise PromptError(f"count is {count}: ask for {MIN_COUNT} to {MAX_COUNT} hashtags")
        opening = self._hashtag_opening(count)
        guidance = self._guidance(self.template.hashtag_guidance.replace("{count}", str(count)))
        return [*opening, *self._fields(note, topic=False), *self._compression, self.emb_token_id, *guidance]

    def output(self, text: str) -> list[int]:
        """Ids of a continuation (a category, a list of hashtags) as it follows the guidance, without end-of-sequence."""
        return self.plain.encode(self.template.output_lead + text)

    def outputs(self, texts: Sequence[str]) -> list[list[int]]:
        """`output` for each text."""
        return self.plain.encode_batch([self.template.output_lead + text for text in texts])

    def embedding_example(self, note: TokenizedNote) -> TrainingExample:
        """The embedding prompt without an answer."""
        ids = self.embedding(note)
        return TrainingExample(tuple(ids), len(self.embedding_prefix), len(ids) - 1, len(ids))

    def category_example(self, note: TokenizedNote, category: str) -> TrainingExample:
        """The category prompt and its answer."""
        return self._example(self.category(note), self.embedding_prefix, category)

    def hashtags_example(self, note: TokenizedNote, hashtags: Sequence[str]) -> TrainingExample:
        """The prompt that asks for as many hashtags as are given, and its answer.

        Raises:
            PromptError: `hashtags` is empty or has more than 10.
        """
        opening = self._hashtag_opening(len(hashtags))
        return self._example(self.hashtags(note, len(hashtags)), opening, self.template.hashtag_separator.join(hashtags))

    def _example(self, prompt: list[int], opening: tuple[int, ...], answer: str) -> TrainingExample:
        if self.eos_token_id is None:
            raise PromptError("the tokenizer has no end-of-sequence token: the model could not learn to stop")
        ids = (*prompt, *self.output(answer), self.eos_token_id)
        return TrainingExample(ids, len(opening), prompt.index(self.emb_token_id) - 1, len(prompt))

    def _cut(self, title: list[int], topic: list[int], content: list[int]) -> TokenizedNote:
        fields: dict[FieldName, list[int]] = {"title": title, "topic": topic, "content": content}
        kept = {name: tuple(ids[: self._limits[name]]) for name, ids in fields.items()}
        return TokenizedNote(**kept, full_lengths={name: len(fields[name]) for name in self.template.labels})

    def _hashtag_opening(self, count: int) -> tuple[int, ...]:
        return self._opening(self.template.hashtag_instruction.replace("{count}", str(count)))

    def _opening(self, instruction: str) -> tuple[int, ...]:
        return (*self._bos, *self._start(instruction + self.template.labels["title"]))

    def _fields(self, note: TokenizedNote, *, topic: bool) -> list[int]:
        template = self.template
        after_title: dict[FieldName, tuple[int, ...]] = {"content": note.content}  # the title's label belongs to the opening
        if topic and (note.topic or template.empty_topic):
            after_title["topic"] = note.topic
        ids = list(note.title)
        for name, label in template.labels.items():
            if name in after_title:
                ids += [*self._literal(template.field_end + label), *after_title[name]]
        return ids

    @property
    def _compression(self) -> tuple[int, ...]:
        template = self.template
        return self._literal(template.field_end.removesuffix(",") + template.note_end + template.compression)

    def _guidance(self, text: str) -> tuple[int, ...]:
        return self._literal(self.template.after_emb + text)
