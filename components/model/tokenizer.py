"""The tokenizer of a LLaVA model: the language model's own, plus the image and padding tokens.

In: a language model folder or a LLaVA folder. Out: the tokenizer with `<image>` and `<pad>`, and
the image token's id, without building any model (prepare needs only this); the chat template that
stands beside it. It does not render conversations (see `components.data.conversation`). Reference:
the llava-hf conversion adds `<image>` (id = vocabulary size) and then `<pad>`.
"""

import json
from pathlib import Path

from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerBase

from components.core.errors import CheckpointError, ConfigError
from components.data.conversation import VICUNA_SYSTEM
from components.model.vocabulary import IMAGE_TOKEN, NEW_TOKENS, PAD_TOKEN

_END_TOKEN = "</s>"
"""Stands in the templates for the end token of the tokenizer that a folder holds."""

_VICUNA_V1 = (
    VICUNA_SYSTEM
    + " {% for message in messages %}"
    + "{% if message['role'] == 'user' %}USER: "
    + "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    + "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    + "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    + "{% endif %} "
    + "{% elif message['role'] == 'assistant' %}ASSISTANT: "
    + "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    + "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    + _END_TOKEN
    + "{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)

_CHAT_TEMPLATES = {"vicuna_v1": _VICUNA_V1}
"""What `components.data.conversation` renders, in Jinja; a test compares the two. The begin token
is left to the tokenizer. `plain` (stage 1) is no chat and has none.
"""


def load_tokenizer(language_model_path: str | Path) -> tuple[PreTrainedTokenizerBase, int]:
    """Return the tokenizer with image and padding tokens, and the image token's id.

    Adding is idempotent: a LLaVA folder's tokenizer comes back with the same ids.
    Raises CheckpointError when the folder holds no readable tokenizer, or one without an end token
    or without free ids.
    """
    path = Path(language_model_path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; expected a Hugging Face model folder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises many kinds for a bad folder
        raise CheckpointError(
            f"{path}: the tokenizer cannot be read ({type(error).__name__}: {error}); "
            "expected tokenizer.json and tokenizer_config.json; restore the folder"
        ) from error
    if tokenizer.eos_token_id is None:
        raise CheckpointError(
            f"{path}: the tokenizer has no end token (eos_token), so no answer could end; name one "
            "in its tokenizer_config.json"
        )
    for text in NEW_TOKENS:
        if tokenizer.convert_tokens_to_ids(text) in (None, tokenizer.unk_token_id):
            tokenizer.add_tokens([AddedToken(text, special=True, normalized=False)])
            _check_is_alone(tokenizer, text, path)
    tokenizer.pad_token = PAD_TOKEN
    tokenizer.padding_side = "right"
    return tokenizer, int(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))


def check_positions(folder: str | Path, max_tokens: int) -> None:
    """Raise ConfigError where samples may be longer than the language model has positions.

    `folder` is that of a language model or of a LLaVA.
    """
    path = Path(folder) / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        positions = (values.get("text_config") or values).get("max_position_embeddings")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore the file") from error
    if positions is not None and max_tokens > positions:
        raise ConfigError(
            f"samples may have max_tokens={max_tokens}, but the language model in {folder} has "
            f"{positions} positions; prepare the data with fewer max_tokens"
        )


def check_image_token(found: int, expected: int, path: Path) -> None:
    """Raise CheckpointError when a folder's tokenizer and configuration disagree on the id."""
    if found != expected:
        raise CheckpointError(
            f"{path}: the tokenizer gives {IMAGE_TOKEN} id {found}, the model expects {expected}; "
            "the folder mixes two models"
        )


def chat_template(name: str, end_token: str) -> str | None:
    """Return the named template with the tokenizer's own end token; None for what is no chat.

    It is written into model folders, so that other servers prompt as we train.
    Llama and Vicuna end an answer with `</s>`, Qwen2 with `<|endoftext|>` or `<|im_end|>`.
    """
    template = _CHAT_TEMPLATES.get(name)
    return None if template is None else template.replace(_END_TOKEN, end_token)


def _check_is_alone(tokenizer: PreTrainedTokenizerBase, text: str, path: Path) -> None:
    """Refuse a new token with an old one's id: it gets the number of tokens so far as its own."""
    token_id = tokenizer.convert_tokens_to_ids(text)
    for other, other_id in tokenizer.get_vocab().items():
        if other_id == token_id and other != text:
            raise CheckpointError(
                f"{path}: {text} would have id {token_id}, which is that of {other!r}: the "
                "vocabulary leaves ids out; fill them in tokenizer.json with tokens that do not "
                "occur in texts"
            )
