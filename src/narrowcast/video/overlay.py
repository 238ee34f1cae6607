"""Labels drawn over images, images side by side, captions and legends. Nothing here changes what it is given."""

import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from narrowcast.core.errors import ShapeError, UsageError
from narrowcast.video.palette import palette

UNKNOWN = 255  # a pixel that nobody labelled: as transparent as background
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_PANEL_ALPHA = 0.6  # ours: how much a panel under text hides


def overlay(
    image_rgb: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h2 w2"], *, alpha: float = 0.5
) -> UInt8[np.ndarray, "h w 3"]:
    """A new image with each class tinted in its colour and thinly outlined; background (0) and unknown (255) untouched.

    Args:
        labels: of any size; brought to the image's by taking the nearest label.
        alpha: how much of the class's colour, from 0 (outlines only) to 1.

    Raises:
        ShapeError: not an RGB image, or not a map of uint8 labels.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is {alpha}; give 0 to 1")
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or labels.ndim != 2 or labels.dtype != np.uint8:
        raise ShapeError(f"expected an image (h, w, 3) and uint8 labels (h, w), got {image_rgb.shape}, {labels.shape}")
    height, width = image_rgb.shape[:2]
    if labels.shape != (height, width):
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    colors, shown = _tables()
    classes = cv2.LUT(labels, shown)
    drawn = image_rgb.copy()
    rows, columns = _labelled_part(classes)
    if rows.start != rows.stop:
        _tint(drawn[rows, columns], classes[rows, columns], colors, alpha=alpha)
    return drawn


def _labelled_part(classes: UInt8[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Rows and columns around all that is not background, with a rim of one pixel where there is room for it."""
    left, top, width, height = cv2.boundingRect(classes)
    if not width:
        return slice(0, 0), slice(0, 0)
    return slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)


def _tint(
    part_rgb: UInt8[np.ndarray, "h w 3"],
    classes: UInt8[np.ndarray, "h w"],
    colors: UInt8[np.ndarray, "256 1 3"],
    *,
    alpha: float,
) -> None:
    """Tint and outline in place."""
    painted = cv2.applyColorMap(classes, colors)
    tinted = cv2.addWeighted(part_rgb, 1 - alpha, painted, alpha, 0)
    cv2.copyTo(tinted, classes, part_rgb)
    rim = cv2.compare(cv2.erode(classes, _CROSS), classes, cv2.CMP_NE)  # inside each class, one pixel wide
    cv2.copyTo(painted, rim, part_rgb)


@cache
def _tables() -> tuple[UInt8[np.ndarray, "256 1 3"], UInt8[np.ndarray, " 256"]]:
    shown = np.arange(256, dtype=np.uint8)
    shown[UNKNOWN] = 0
    return palette(256)[:, None], shown


def side_by_side(
    left_rgb: UInt8[np.ndarray, "h w 3"], right_rgb: UInt8[np.ndarray, "h2 w2 3"]
) -> UInt8[np.ndarray, "h w3 3"]:
    """A new image with the two beside each other, the right one scaled to the height of the left one."""
    height = left_rgb.shape[0]
    if right_rgb.shape[0] != height:
        width = max(1, round(right_rgb.shape[1] * height / right_rgb.shape[0]))
        right_rgb = cv2.resize(right_rgb, (width, height), interpolation=cv2.INTER_AREA)
    return np.hstack([left_rgb, right_rgb])


def draw_caption(image_rgb: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "h w 3"]:
    """A new image with one line of text on a dark panel in the upper left corner, cut where the image ends."""
    panel = _text_panel(text, _text_height(image_rgb))
    return _with_panel(image_rgb, panel, at_bottom=False)


def draw_legend(image_rgb: UInt8[np.ndarray, "h w 3"], classes: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """A new image with the names of classes 1 and up beside their colours, in the lower left corner."""
    panel = _legend_panel(tuple(classes), _text_height(image_rgb))
    return _with_panel(image_rgb, panel, at_bottom=True)


def _text_height(image_rgb: np.ndarray) -> int:
    return max(10, round(image_rgb.shape[0] / 40))


def _with_panel(image_rgb: np.ndarray, panel: np.ndarray, *, at_bottom: bool) -> np.ndarray:
    """White or coloured pixels of the panel replace the image's; black ones darken it."""
    drawn = image_rgb.copy()
    height, width = min(panel.shape[0], drawn.shape[0]), min(panel.shape[1], drawn.shape[1])
    panel = panel[:height, :width]
    place = drawn[-height:, :width] if at_bottom else drawn[:height, :width]
    dark = cv2.addWeighted(place, 1 - _PANEL_ALPHA, panel, _PANEL_ALPHA, 0)
    place[:] = cv2.max(dark, panel)
    return drawn


@cache
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu, which matplotlib brings and which has the letters of most languages; Pillow's own has ASCII only."""
    found = importlib.util.find_spec("matplotlib")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, size=height)
    return ImageFont.load_default(size=height)


@lru_cache(maxsize=64)  # a caption often stays for many frames
def _text_panel(text: str, height: int) -> UInt8[np.ndarray, "h w 3"]:
    font = _font(height)
    width = round(font.getlength(text)) + height
    image = Image.new("RGB", (max(width, 1), round(height * 1.7)))
    ImageDraw.Draw(image).text((height / 2, height * 0.25), text, font=font, fill=(255, 255, 255))
    return np.asarray(image)


@lru_cache(maxsize=16)
def _legend_panel(classes: tuple[str, ...], height: int) -> UInt8[np.ndarray, "h w 3"]:
    names = classes[1:]
    rows = [_text_panel(name, height) for name in names] or [np.zeros((1, 1, 3), np.uint8)]
    indent = height + height // 4
    width = max(row.shape[1] for row in rows) + indent
    panel = np.zeros((sum(row.shape[0] for row in rows), width, 3), np.uint8)
    top, colors = 0, palette(len(classes))
    for row, color in zip(rows, colors[1:], strict=False):
        middle = top + row.shape[0] // 2
        panel[top : top + row.shape[0], indent : indent + row.shape[1]] = row
        panel[middle - height // 2 : middle + height // 2, height // 2 : height // 2 + height] = color
        top += row.shape[0]
    return panel
