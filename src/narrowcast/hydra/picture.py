"""A picture of a partition: one row a branch, one photo a class."""

import textwrap
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from narrowcast.core.files import replacing
from narrowcast.hydra.partition import Partition

SIDE, MARGIN, LINE, LETTERS = 84, 8, 12, 14  # pixels, and letters of a name that fit under a photo
NUM_LINES = 2
INK, PAPER = (49, 54, 60), (255, 255, 255)


def draw(partition: Partition, photos: UInt8[np.ndarray, "classes h w 3"]) -> Image.Image:
    """Rows of photos with the names of their classes, in the order of the branches."""
    groups = [
        [ix for ix, branch in enumerate(partition.branch_of_class) if branch == number]
        for number in range(partition.num_branches)
    ]
    columns = max(map(len, groups))
    cell_w, cell_h = SIDE + MARGIN, SIDE + NUM_LINES * LINE + MARGIN
    sheet = Image.new("RGB", (MARGIN + 24 + columns * cell_w, MARGIN + len(groups) * cell_h), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, group in enumerate(groups):
        top = MARGIN + number * cell_h
        pen.text((MARGIN, top + SIDE // 2 - 6), str(number), fill=INK)
        for column, ix in enumerate(group):
            left = MARGIN + 24 + column * cell_w
            sheet.paste(Image.fromarray(photos[ix]).resize((SIDE, SIDE)), (left, top))
            for line, words in enumerate(caption(partition.classes[ix])):
                pen.text((left, top + SIDE + line * LINE), words, fill=INK)
    return sheet


def caption(name: str) -> list[str]:
    """The name of a class in lines that fit under its photo.

    >>> caption("n02123045 tabby_cat"), caption("bird")
    (['n02123045', 'tabby cat'], ['bird'])
    """
    return textwrap.wrap(name.replace("_", " "), LETTERS, max_lines=NUM_LINES, placeholder="…", break_on_hyphens=True)


def save_picture(path: Path, partition: Partition, photos: UInt8[np.ndarray, "classes h w 3"]) -> None:
    """Write `draw`'s picture as PNG, whole or not at all."""
    with replacing(path) as temporary:
        draw(partition, photos).save(temporary, "PNG")
