"""Jinja chat templates written into model folders, so that other servers prompt as we train.

They say in Jinja what `components.data.conversation` renders; a test compares the two. The begin
token is left to the tokenizer. `plain` (stage 1) is no chat and has none.
"""

from components.data.conversation import VICUNA_SYSTEM

END_TOKEN = "</s>"
"""Stands in the templates for the end token of the tokenizer that a folder holds."""

VICUNA_V1 = (
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
    + END_TOKEN
    + "{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)

CHAT_TEMPLATES: dict[str, str] = {"vicuna_v1": VICUNA_V1}


def chat_template(name: str, end_token: str) -> str | None:
    """Return the named template with the tokenizer's own end token; None for what is no chat.

    Llama and Vicuna end an answer with `</s>`, Qwen2 with `<|endoftext|>` or `<|im_end|>`.
    """
    template = CHAT_TEMPLATES.get(name)
    return None if template is None else template.replace(END_TOKEN, end_token)
