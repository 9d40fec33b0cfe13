"""The grading prompt of MM-Vet, word for word: its figures are comparable under this prompt alone.

Data, not wording of this project: the instruction and the seven graded examples that the authors
publish with the benchmark (yuweihao/MM-Vet at acde843, mm-vet_evaluator.py; Apache License 2.0). It
lies in no data file of theirs, so it is kept here; a test holds its sha256. In: a question, its
ground truth, a prediction. Out: the text for the judge.
"""

VERSION = "mm-vet_evaluator.py@acde843"

_INSTRUCTION = (
    "Compare the ground truth and prediction from AI models, to give a correctness score for the "
    "prediction. <AND> in the ground truth means it is totally right only when all elements in the "
    "ground truth are present in the prediction, and <OR> means it is totally right when any one "
    "element in the ground truth is present in the prediction. The correctness score is 0.0 "
    "(totally wrong), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, or 1.0 (totally right). Just "
    "complete the last space of the correctness score."
)
_EQUATION = ("What is x in the equation?", "-1 <AND> -5")
_MEME = (
    "Can you explain this meme?",
    "This meme is poking fun at the fact that the names of the countries Iceland and Greenland are "
    "misleading. Despite its name, Iceland is known for its beautiful green landscapes, while "
    "Greenland is mostly covered in ice and snow. The meme is saying that the person has trust "
    "issues because the names of these countries do not accurately represent their landscapes.",
)
_EXAMPLES = (
    (*_EQUATION, "x = 3", "0.0"),
    (*_EQUATION, "x = -1", "0.5"),
    (*_EQUATION, "x = -5", "0.5"),
    (*_EQUATION, "x = -5 or 5", "0.5"),
    (*_EQUATION, "x = -1 or x = -5", "1.0"),
    (
        *_MEME,
        "The meme talks about Iceland and Greenland. It's pointing out that despite their names, "
        "Iceland is not very icy and Greenland isn't very green.",
        "0.4",
    ),
    (
        *_MEME,
        "The meme is using humor to point out the misleading nature of Iceland's and Greenland's "
        "names. Iceland, despite its name, has lush green landscapes while Greenland is mostly "
        "covered in ice and snow. The text 'This is why I have trust issues' is a playful way to "
        "suggest that these contradictions can lead to distrust or confusion. The humor in this "
        "meme is derived from the unexpected contrast between the names of the countries and their "
        "actual physical characteristics.",
        "1.0",
    ),
)
TABLE = "\n".join(
    [
        _INSTRUCTION,
        "",
        "Question | Ground truth | Prediction | Correctness",
        "--- | --- | --- | ---",
        *(" | ".join(example) for example in _EXAMPLES),
        "",
    ]
)
# Added from the second request on, when a reply was no grade.
_INSISTING = "\nPredict the correctness of the answer (digit): "


def grading_prompt(question: str, truth: str, prediction: str, insisting: bool = False) -> str:
    """Return what the official evaluator sends: the table with a last row to complete."""
    spaced = truth.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    row = " | ".join([question, spaced, prediction, ""])
    return f"{TABLE}\n{row}{_INSISTING if insisting else ''}"
