"""The lines that tell LLaVA-1.5 in what form to answer; the paper's Table 7.

Trained on by the mixture, asked with by the benchmarks, written into the files of the pocket world:
a prompt that differs in one letter is another prompt. Nothing is imported.
"""

SHORT_ANSWER = "Answer the question using a single word or phrase."
OPTION_LETTER = "Answer with the option's letter from the given choices directly."
ONE_SENTENCE = "Provide a one-sentence caption for the provided image."
DESCRIBE_REGION = "Provide a short description for this region"
LOCATE_REGION = "Provide the bounding box coordinate of the region this sentence describes"
MAY_BE_UNANSWERABLE = "When the provided information is insufficient, respond with 'Unanswerable'."
"""Stands before the short-answer line in VizWiz (llava/eval, arXiv 2310.03744 Appendix A)."""
