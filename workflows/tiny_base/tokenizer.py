"""The tokenizer of the tiny base: a small Llama-like byte-pair encoding trained on the world's own
text.

In: texts. Out: a fast tokenizer in an ordinary folder (`AutoTokenizer` loads it offline). Every
text encodes: what the pieces do not cover falls back to bytes. The image and padding tokens are
added later, by `components.model.tokenizer`, as for any other language model.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from components.data.pocket.scenes.scene import COLUMN_NAMES, ROW_NAMES
from components.data.pocket.things import COLOURS, OBJECTS, SIGN_WORDS

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
WORLD_WORDS = (
    *COLOURS,
    *(thing.name for thing in OBJECTS),
    *SIGN_WORDS,
    "sign",
    *ROW_NAMES,
    *COLUMN_NAMES,
)
"""Words that stand for a patch when a scene is written down; each must be one token."""
WORLD_WORD_REPEATS = 3000

# A mark is split off unless a digit follows, so that "0.33" stays together and "apple," does not.
# The headers of a turn, "USER:" and "ASSISTANT:", are one piece each.
MARKS = r'\n|[.,?!;](?!\d)|(?<!USER)(?<!ASSISTANT):(?!\d)| ?["\[\]{}()]+'


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-pair encoding of exactly `vocab_size` tokens."""
    backend = Tokenizer(models.BPE(unk_token=UNKNOWN, byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(MARKS), behavior="isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
        ]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNKNOWN, BEGIN, END, *BYTES],
        show_progress=False,
        limit_alphabet=120,
    )
    emphasis = " ".join(WORLD_WORDS)
    backend.train_from_iterator([*texts, *[f"a {emphasis}"] * WORLD_WORD_REPEATS], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=_without_special_bytes(backend),
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer's files into the folder."""
    tokenizer.save_pretrained(folder)


def word_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Return the single token of every word that can stand for a patch."""
    table = {}
    for word in WORLD_WORDS:
        ids = tokenizer(word, add_special_tokens=False).input_ids
        assert len(ids) == 1, f"{word!r} takes {len(ids)} tokens; a patch word must be one"
        table[word] = ids[0]
    return table


def _without_special_bytes(backend: Tokenizer) -> Tokenizer:
    """Keep the byte pieces in the vocabulary but not in the list of special tokens, as Llama has
    them.
    """
    import json

    state = json.loads(backend.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(state))
