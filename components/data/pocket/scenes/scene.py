"""Scenes of the pocket world: what stands where; drawn by chance, split, and made into images.

In: a random generator. Out: frozen `Scene` records; 96 px images of them; the same scene written
as rows of words, one word per 14 px patch of the 84 px model input (the language the base model is
taught). The layout is a 3 by 3 grid of cells; one cell is 2 by 2 patches, so that a patch shows one
cell only. No file is written here (see `world.py`).

Splits: a scene belongs to "train" or "eval" by a hash of what it shows (not of its jitter), so an
evaluation scene cannot occur in training by chance; HELD_OUT_PAIRS never meet in a training scene.
"""

import hashlib
import random
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from components.data.pocket.things import COLOURS, GROCERIES, OBJECTS, SIGN_WORDS

GRID = 3
CELL_PX = 32
SCENE_PX = GRID * CELL_PX
PATCHES_PER_CELL = 2
SPRITE_PX = 64
SPRITE_SHEET = Path(__file__).with_name("sprites.png")
SPRITES_PER_ROW = 8
EVAL_SHARE = 8  # one scene in eight belongs to the evaluation split

ROW_NAMES = ("top", "middle", "bottom")
COLUMN_NAMES = ("left", "center", "right")


@dataclass(frozen=True)
class Placed:
    """One object in a cell; `mat` is the colour of the square mat under it, or None."""

    name: str
    row: int
    column: int
    mat: str | None = None

    @property
    def position(self) -> str:
        """The cell in words: "top left", "bottom center", and plain "center" for the middle."""
        return position_words(self.row, self.column)


@dataclass(frozen=True)
class Sign:
    """A white card with a printed word over two cells: (row, column) and (row, column + 1)."""

    word: str
    row: int
    column: int


@dataclass(frozen=True)
class Scene:
    """Everything an image shows. `jitter` only seeds small shifts and sizes; it is not content."""

    kind: str
    background: str
    objects: tuple[Placed, ...]
    sign: Sign | None = None
    jitter: int = 0

    @property
    def content(self) -> str:
        """A canonical line of what the scene shows; equal content, equal line."""
        things = sorted(f"{p.name}@{p.row}{p.column}/{p.mat}" for p in self.objects)
        sign = f"{self.sign.word}@{self.sign.row}{self.sign.column}" if self.sign else ""
        return f"{self.background}|{','.join(things)}|{sign}"

    @property
    def split(self) -> str:
        """ "train" or "eval", decided by the content alone."""
        digest = hashlib.sha256(self.content.encode()).digest()
        held_out = any(pair in HELD_OUT_PAIRS for pair in _pairs(self.objects))
        return "eval" if held_out or digest[0] % EVAL_SHARE == 0 else "train"

    def count(self, name: str) -> int:
        """How many objects of this name the scene shows."""
        return sum(placed.name == name for placed in self.objects)

    def names(self) -> tuple[str, ...]:
        """The distinct object names in reading order."""
        return tuple(dict.fromkeys(placed.name for placed in self.objects))


def position_words(row: int, column: int) -> str:
    """Name a grid cell the way captions and questions do."""
    if row == 1 and column == 1:
        return "center"
    return f"{ROW_NAMES[row]} {COLUMN_NAMES[column]}"


def sample_scene(rng: random.Random, kind: str = "objects", split: str = "train") -> Scene:
    """Draw a scene of a kind ("objects", "sign" or "groceries") that belongs to the split."""
    while True:
        scene = _draw(rng, kind)
        if scene.split == split:
            return replace(scene, jitter=rng.getrandbits(31))


def box(scene: Scene, placed: Placed) -> tuple[int, int, int, int]:
    """Bounding box (x, y, width, height) in pixels of the 96 px image of the drawn sprite."""
    shift_x, shift_y, size = _jitter(scene, placed.row, placed.column)
    x = placed.column * CELL_PX + (CELL_PX - size) // 2 + shift_x
    y = placed.row * CELL_PX + (CELL_PX - size) // 2 + shift_y
    return x, y, size, size


def sign_box(sign: Sign) -> tuple[int, int, int, int]:
    """Bounding box (x, y, width, height) in pixels of the 96 px image of the sign's card."""
    left, top = sign.column * CELL_PX, sign.row * CELL_PX
    return left + 1, top + 4, 2 * CELL_PX - 2, CELL_PX - 8


def render(scene: Scene) -> Image.Image:
    """Draw the scene as an RGB image of SCENE_PX by SCENE_PX pixels."""
    image = Image.new("RGB", (SCENE_PX, SCENE_PX), COLOURS[scene.background])
    draw = ImageDraw.Draw(image)
    for placed in scene.objects:
        left, top = placed.column * CELL_PX, placed.row * CELL_PX
        if placed.mat:
            draw.rectangle(
                (left + 1, top + 1, left + CELL_PX - 2, top + CELL_PX - 2), fill=COLOURS[placed.mat]
            )
        x, y, size, _ = box(scene, placed)
        sprite = _sprite(placed.name, size)
        image.paste(sprite, (x, y), sprite)
    if scene.sign:
        _draw_sign(draw, scene.sign)
    brightness = 0.92 + 0.16 * random.Random(scene.jitter).random()
    return ImageEnhance.Brightness(image).enhance(brightness)


def _draw(rng: random.Random, kind: str) -> Scene:
    cells = [(row, column) for row in range(GRID) for column in range(GRID)]
    sign = None
    if kind == "sign":
        sign = Sign(rng.choice(SIGN_WORDS), rng.randrange(GRID), rng.randrange(GRID - 1))
        cells = [
            cell
            for cell in cells
            if cell not in ((sign.row, sign.column), (sign.row, sign.column + 1))
        ]
    background = rng.choice(list(COLOURS))
    names = _names(rng, kind)
    places = sorted(rng.sample(cells, len(names)))
    mats = [colour for colour in COLOURS if colour != background]
    objects = tuple(
        Placed(name, row, column, rng.choice(mats) if rng.random() < 0.5 else None)
        for name, (row, column) in zip(names, places, strict=True)
    )
    return Scene(kind, background, objects, sign)


def _names(rng: random.Random, kind: str) -> list[str]:
    if kind == "groceries":
        names = rng.sample(GROCERIES, rng.randint(2, 5))
    elif kind == "sign":
        names = rng.sample([thing.name for thing in OBJECTS], rng.randint(1, 3))
    else:
        names = rng.sample([thing.name for thing in OBJECTS], rng.randint(1, 4))
        if rng.random() < 0.5:  # several of one kind, for counting
            names += [names[0]] * rng.randint(1, 3)
    rng.shuffle(names)
    return names


def _jitter(scene: Scene, row: int, column: int) -> tuple[int, int, int]:
    rng = random.Random(scene.jitter * 9 + row * GRID + column)
    size = rng.randint(26, 30)
    slack = (CELL_PX - size) // 2
    return rng.randint(-slack, slack), rng.randint(-slack, slack), size


def _pairs(objects: tuple[Placed, ...]) -> set[frozenset[str]]:
    names = sorted({placed.name for placed in objects})
    return {frozenset((a, b)) for index, a in enumerate(names) for b in names[index + 1 :]}


def _choose_held_out(count: int) -> frozenset[frozenset[str]]:
    """A fixed choice of object pairs that no training scene shows together."""
    rng = random.Random(20231005)
    names = [thing.name for thing in OBJECTS]
    return frozenset(frozenset(rng.sample(names, 2)) for _ in range(count))


HELD_OUT_PAIRS = _choose_held_out(24)


@lru_cache(maxsize=1)
def _sheet() -> Image.Image:
    with Image.open(SPRITE_SHEET) as sheet:
        return sheet.convert("RGBA")


@lru_cache(maxsize=4096)
def _sprite(name: str, size: int) -> Image.Image:
    index = next(i for i, thing in enumerate(OBJECTS) if thing.name == name)
    x, y = index % SPRITES_PER_ROW * SPRITE_PX, index // SPRITES_PER_ROW * SPRITE_PX
    return (
        _sheet()
        .crop((x, y, x + SPRITE_PX, y + SPRITE_PX))
        .resize((size, size), Image.Resampling.LANCZOS)
    )


def _draw_sign(draw: ImageDraw.ImageDraw, sign: Sign) -> None:
    left, top = sign.column * CELL_PX, sign.row * CELL_PX
    x, y, width, height = sign_box(sign)
    draw.rectangle(
        (x, y, x + width - 1, y + height - 1),
        fill=(252, 252, 250),
        outline=(30, 30, 30),
    )
    font = _font(len(sign.word))
    draw.text(
        (left + CELL_PX, top + CELL_PX // 2),
        sign.word,
        fill=(20, 20, 20),
        font=font,
        anchor="mm",
        stroke_width=0,
    )


@lru_cache(maxsize=8)
def _font(letters: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest built-in font size at which a word of so many capital letters fits on a sign."""
    return ImageFont.load_default(size=min(20, int(2 * (CELL_PX - 4) / (0.72 * letters))))
