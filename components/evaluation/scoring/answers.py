"""Normalisers of short answers, as the official tools apply them, quirks included.

In: an answer string. Out: its normal form. `normalise_evalai` is what LLaVA-1.5 applies before a
VQAv2 upload and inside its TextVQA scorer (llava/eval/m4c_evaluator.py at c121f04); `normalise_vqa`
is the VQA tool's own (GT-Vision-Lab/VQA vqaEval.py at a013f00). They differ on about 8% of tricky
strings, so neither stands in for the other. `normalise_vizwiz` is the VizWiz API's (copy in
TRI-ML/vlm-evaluation at d9f5896). The quirks that decide numbers are told at the lines that make
them.
"""

import re

NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}

ARTICLES = frozenset(("a", "an", "the"))

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'

_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
# The tools mean to keep the point of a decimal number by looking at both sides, but the look behind
# is misspelt and always true: only a digit after the point keeps it.
_PERIOD = re.compile(r"\.(?!\d)")
# They pass re.UNICODE where `count` is expected, so that only so many periods go.
_MAX_PERIODS = int(re.UNICODE)

# Forms with their apostrophes. A form with one apostrophe is restored from the word without it; a
# form with several from each word that lacks exactly one of them ("couldnt've" and "couldn'tve",
# but not "couldntve").
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_each_apostrophe(form: str) -> list[str]:
    places = [place for place, letter in enumerate(form) if letter == "'"]
    return [form[:place] + form[place + 1 :] for place in places]


# The official table also has "Im", "Ive" and their like, which never match lower-cased words, and
# one entry that runs the other way: somebody'd -> somebodyd.
CONTRACTIONS = {
    damaged: form for form in _CONTRACTED.split() for damaged in _without_each_apostrophe(form)
} | {"somebody'd": "somebodyd"}

# The VizWiz API copied the table with grave accents for apostrophes, here and there. Its keys with
# a grave accent never match, for the mark is punctuation and gone by then; of the words damaged in
# one place only two keep their other apostrophe, and eight forms are restored with a true one.
_VIZWIZ_TRUE = frozenset(
    ("ain't", "aren't", "can't", "could've", "couldn't", "we've", "where's", "who've")
)
VIZWIZ_CONTRACTIONS = {
    damaged: form if form in _VIZWIZ_TRUE else form.replace("'", "`")
    for damaged, form in CONTRACTIONS.items()
    if "'" not in damaged or damaged in ("couldn'tve", "hadn'tve")
}


def normalise_evalai(text: str) -> str:
    """Return the answer as LLaVA's EvalAI processor leaves it.

    Lower case, commas and question marks gone, `'s` split off, punctuation and periods stripped,
    number words as digits (none -> 0), articles dropped, contractions restored.
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return normalise_vqa(text)


def normalise_vqa(text: str) -> str:
    """Return the answer as the VQA tool leaves it when the ten humans disagree."""
    return _words(_punctuation(one_line(text)), CONTRACTIONS)


def normalise_vizwiz(text: str) -> str:
    """Return the answer as the VizWiz API leaves a prediction ("didnt" -> "didn`t")."""
    return _words(_punctuation(one_line(text)), VIZWIZ_CONTRACTIONS)


def one_line(text: str) -> str:
    """Return the text on one line, without outer white space."""
    return text.strip().replace("\n", " ").replace("\t", " ").strip()


def _punctuation(text: str) -> str:
    """Delete a mark that stands next to a space anywhere in the text, turn it into a space
    elsewhere.
    """
    glued_digits = _DIGIT_COMMA_DIGIT.search(text) is not None
    result = text
    for mark in PUNCTUATION:
        # Looked up in the text as it came, applied to the text as it has become.
        beside_space = mark + " " in text or " " + mark in text
        result = result.replace(mark, "" if beside_space or glued_digits else " ")
    return _PERIOD.sub("", result, count=_MAX_PERIODS)


def _words(text: str, contractions: dict[str, str]) -> str:
    words = (NUMBER_WORDS.get(word, word) for word in text.lower().split())
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)


def leave_one_out(answer: str, humans: list[str]) -> float:
    """Return the VQA accuracy: the mean over humans of min(matches among the others / 3, 1).

    Added up in the order of the humans, so that the last bit agrees with the official tools.
    """
    matches = sum(human == answer for human in humans)
    shares = [min(1.0, float(matches - (human == answer)) / 3) for human in humans]
    return float(sum(shares)) / len(shares)
