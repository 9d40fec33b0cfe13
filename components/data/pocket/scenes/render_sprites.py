"""Renders `sprites.png` once from the Noto Color Emoji font; run again only when OBJECTS grows.

In: the path of NotoColorEmoji.ttf (bitmap build, one size of 109 px). Out: the sprite sheet,
SPRITES_PER_ROW sprites of SPRITE_PX a row in the order of OBJECTS. Run as
`python -m components.data.pocket.scenes.render_sprites NotoColorEmoji.ttf`.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from components.data.pocket.scenes.scene import SPRITE_PX, SPRITE_SHEET, SPRITES_PER_ROW
from components.data.pocket.things import OBJECTS

FONT_PX = 109  # the only size of the bitmap font
CANVAS_PX = 160


def render_sheet(font_path: Path) -> Image.Image:
    """Draw all sprites on one transparent sheet."""
    font = ImageFont.truetype(str(font_path), FONT_PX)
    num_rows = -(-len(OBJECTS) // SPRITES_PER_ROW)
    sheet = Image.new("RGBA", (SPRITES_PER_ROW * SPRITE_PX, num_rows * SPRITE_PX))
    for index, thing in enumerate(OBJECTS):
        row, column = divmod(index, SPRITES_PER_ROW)
        sheet.paste(_sprite(thing.emoji, font), (column * SPRITE_PX, row * SPRITE_PX))
    return sheet


def _sprite(emoji: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """One emoji, cropped to what is drawn and centred on a transparent square."""
    canvas = Image.new("RGBA", (CANVAS_PX, CANVAS_PX))
    middle = (CANVAS_PX // 2, CANVAS_PX // 2)
    ImageDraw.Draw(canvas).text(middle, emoji, font=font, embedded_color=True, anchor="mm")
    drawn = canvas.crop(canvas.getbbox())
    side = max(drawn.size)
    square = Image.new("RGBA", (side, side))
    square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    return square.resize((SPRITE_PX, SPRITE_PX), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the sheet beside this module, or where --output says."""
    parser = argparse.ArgumentParser(description="Render the sprite sheet of the pocket world.")
    parser.add_argument("font", type=Path, help="path of NotoColorEmoji.ttf")
    parser.add_argument("--output", type=Path, default=SPRITE_SHEET, help="PNG file to write")
    arguments = parser.parse_args()
    render_sheet(arguments.font).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
