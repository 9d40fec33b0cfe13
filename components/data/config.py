"""The settings and the artifact record of the data floor; cheap to import, for the command line.

In: values from a recipe. Out: frozen, checked settings. Does not touch files and imports neither
torch nor pyarrow, so that parsing a recipe stays fast. Reference: LLaVA-1.5 (arXiv 2310.03744),
Appendix A.
"""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from components.core.artifact import Artifact
from components.core.config import Config

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Channel means of OpenAI's CLIP preprocessing, on pixels in [0, 1]."""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Channel standard deviations of OpenAI's CLIP preprocessing."""

CAPTION_SOURCES = ("llava_pretrain",)
"""Sources of the pretrain stage (the 558K captions)."""
MIXTURE_SOURCES = (
    "llava_instruct",
    "sharegpt",
    "vqav2",
    "gqa",
    "okvqa",
    "ocrvqa",
    "aokvqa",
    "textcaps",
    "refcoco",
    "visual_genome",
    "grocery",
)
"""Sources of the finetune stage, in the order in which they are concatenated."""
READY_SOURCES = ("llava_mix665k",)
"""Released mixtures, taken in place of `MIXTURE_SOURCES`, whose rows they already hold.

A row that they repeat weighs more by that (A-OKVQA, once per choice), so it is no duplicate."""
OPTIONAL_SOURCES = ("grocery",)
"""Sources that may be absent from the raw folder: the house's own."""
KNOWN_SOURCES = CAPTION_SOURCES + MIXTURE_SOURCES + READY_SOURCES


class ImageSpec(Config):
    """How an image becomes the vision tower's pixels; stored with data and checkpoints."""

    size_px: int = Field(default=336, ge=1)
    """Side of the square input of the vision tower, in pixels (CLIP-L/14-336: 336)."""
    aspect: Literal["pad", "crop"] = "pad"
    """`pad`: whole image on a square of the mean colour. `crop`: its centre, as CLIP does."""
    mean: tuple[float, float, float] = CLIP_MEAN
    """Channel means on [0, 1]; also the fill colour of `pad`."""
    std: tuple[float, float, float] = CLIP_STD
    """Channel standard deviations on [0, 1]."""
    like_original: bool = False
    """Read files as the original does: EXIF rotation ignored, alpha dropped, 16-bit clipped."""

    @property
    def fill(self) -> tuple[int, int, int]:
        """Padding colour as the original computes it: int(mean * 255), (122, 116, 104)."""
        red, green, blue = (int(channel * 255) for channel in self.mean)
        return red, green, blue


class MixtureConfig(Config):
    """Which sources are taken, and how many rows of each."""

    sources: tuple[str, ...] = MIXTURE_SOURCES
    """Sources in the order in which their rows are numbered; training shuffles them anyway."""
    own: tuple[str, ...] = ()
    """Files or folders of one's own, as paths below the raw folder, taken after the sources.

    The accepted forms are those of `lavaflow data check`.
    """
    limits: dict[str, int] = Field(default_factory=lambda: dict.fromkeys(KNOWN_SOURCES, 0))
    """Most rows taken of a source, drawn evenly by seed; 0 takes all."""
    pilot: float = Field(default=1.0, gt=0, le=1)
    """Share of every source that is kept, drawn evenly by seed: 0.1 for a tenth of the mixture.

    It is taken after the limits, so a pilot has the composition of the whole.
    """
    refcoco_segment_turns: int = Field(default=9, ge=1)
    """Most question-answer pairs in one RefCOCO row (paper, Appendix A.2: fewer than 10 turns)."""
    visual_genome_regions: int = Field(default=10, ge=1)
    """Most regions of a Visual Genome image, drawn by seed (paper, Appendix A.2: 10)."""

    @field_validator("sources")
    @classmethod
    def _known_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in sources if name not in KNOWN_SOURCES]
        if unknown or len(set(sources)) != len(sources):
            raise ValueError(f"expected distinct names out of {', '.join(KNOWN_SOURCES)}")
        return sources

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, limits: dict[str, int]) -> dict[str, int]:
        wrong = [name for name, rows in limits.items() if name not in KNOWN_SOURCES or rows < 0]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r}: expected a row count >= 0 for one of {', '.join(KNOWN_SOURCES)}"
            )
        return {**dict.fromkeys(KNOWN_SOURCES, 0), **limits}

    @model_validator(mode="after")
    def _something_to_read(self) -> Self:
        if not self.sources and not self.own:
            raise ValueError(f"no source; expected some of {', '.join(KNOWN_SOURCES)}, or own data")
        return self


class PrepareConfig(Config):
    """One prepared data set: the pretrain captions or the finetune mixture.

    For the stage "pretrain" the template is `plain`, the only source the captions and images are
    centre-cropped unless said otherwise, as scripts/v1_5/pretrain.sh of the original does.
    """

    stage: Literal["pretrain", "finetune"]
    """Stage that trains on this data; chooses the defaults of template, mixture and aspect."""
    template: Literal["vicuna_v1", "plain"] = "vicuna_v1"
    """Conversation template; `plain` is a caption after its image, nothing else."""
    image: ImageSpec = ImageSpec()
    """How images are shown to the vision tower."""
    max_tokens: int = Field(default=2048, ge=8)
    """Longest sample in positions, image patches included (original: model_max_length 2048)."""
    mixture: MixtureConfig = MixtureConfig()
    """Sources and their row limits."""
    seed: int = 0
    """Seed of every draw made while preparing (row limits, captions, region prompts)."""
    max_reject_share: float = Field(default=0.01, ge=0, le=1)
    """Share of rejected rows above which the run stops, once more than 20 rows are rejected."""
    embed_images: bool = True
    """Copy the encoded images into the prepared data, so that training needs no raw folder."""
    verify_images: bool = True
    """Open and decode every image while preparing. False trusts that all of them are there and
    whole, as after an earlier check; one that is not then stops training."""
    validation_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows held out for validation, by a hash of their image: no image is on both
    sides. The original holds out none."""
    follow_links: bool = Field(default=False, json_schema_extra={"identity": False})
    """Accept image paths that leave the raw folder through symbolic links."""
    num_threads: int = Field(default=1, ge=1, json_schema_extra={"identity": False})
    """Threads with which each process checks images on a local disk."""

    @model_validator(mode="before")
    @classmethod
    def _stage_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("stage") != "pretrain":
            return values
        filled = {
            "template": "plain",
            "mixture": {"sources": CAPTION_SOURCES},
            "image": {"aspect": "crop"},
            **values,
        }
        if isinstance(filled["image"], dict):
            filled["image"] = {"aspect": "crop", **filled["image"]}
        if isinstance(filled["mixture"], dict):
            filled["mixture"] = {"sources": CAPTION_SOURCES, **filled["mixture"]}
        return filled


class PreparedData(Artifact):
    """What `prepare` leaves: shards of token ids and images, the rejects, a summary."""

    stage: str
    """Stage the data is for."""
    template: str
    """Conversation template of the rows."""
    image: ImageSpec
    """How the images are to be shown."""
    image_token_id: int
    """Id that stands once for each image in `input_ids`."""
    patches_per_image: int
    """Positions an image takes once its token is expanded."""
    max_tokens: int
    """Longest sample in positions."""
    raw_uri: str = Field(default="", json_schema_extra={"identity": False})
    """The raw folder, where images are read from that were not copied."""
    num_rows: int
    """Rows to train on."""
    num_validation: int = 0
    """Rows held out."""
    num_rejected: int
    """Rows rejected; reasons are in rejects.jsonl."""
    num_images: int
    """Distinct images."""
    num_tokens: int
    """Positions over all rows, held-out ones too, image patches included."""
    num_supervised: int
    """Positions that carry a label."""
    sources: dict[str, int]
    """Rows kept of each source, held-out ones among them."""
    content_digest: str
    """sha256 over the shards: the data set's identity in the order contract."""
