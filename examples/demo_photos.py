"""A folder of photos to label that can be had offline: frames of one clip and crops of pictures that wheels carry.

python examples/demo_photos.py demo/photos --clip demo/cockatoo.mp4 --pictures demo/pictures

About 1,100 photos: every other frame of a hand-held clip of a cockatoo (bursts, which the page stacks), and crops of
pictures in the public domain. The rare thing is a cat: 24 photos, 2%.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# All CC0 or in the public domain, see skimage.data: name, crops
PICTURES = {
    "chelsea.png": 24,  # the cat
    "astronaut.png": 90,
    "coffee.png": 90,
    "rocket.jpg": 90,
    "hubble_deep_field.jpg": 90,
    "camera.png": 90,
    "moon.png": 60,
    "coins.png": 60,
    "brick.png": 60,
    "grass.png": 60,
    "gravel.png": 60,
    "horse.png": 30,
    "page.png": 40,
    "retina.jpg": 40,
    "clock_motion.png": 60,
}
EXAMPLES = 3  # photos of the cat that are kept apart, to begin with


def main() -> int:
    """Write the photos; they are the same every time."""
    options = ArgumentParser(description="Photos for make demo-label")
    options.add_argument("out", type=Path)
    options.add_argument("--clip", type=Path, required=True)
    options.add_argument("--pictures", type=Path, required=True, help="folder with the data of scikit-image")
    arguments = options.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    num = write_frames(arguments.clip, arguments.out)
    for name, crops in PICTURES.items():
        with Image.open(arguments.pictures / name) as image:
            picture = image.convert("RGB")
        for number in range(crops):
            crop(picture, rng).save(arguments.out / f"{name.partition('.')[0]}-{number:03}.jpg", quality=88)
        num += crops
    apart = arguments.out.parent / "examples"
    apart.mkdir(exist_ok=True)
    with Image.open(arguments.pictures / "chelsea.png") as image:
        for number in range(EXAMPLES):
            crop(image.convert("RGB"), rng).save(apart / f"cat-{number}.jpg", quality=88)
    print(f"{num} photos in {arguments.out}; examples of something rare in {apart}", file=sys.stderr)
    return 0


def write_frames(clip: Path, out: Path) -> int:
    """Every other frame at half size."""
    num = 0
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 2 == 0:
                image = frame.to_image()
                image.resize((image.width // 2, image.height // 2)).save(out / f"clip-{number:04}.jpg", quality=88)
                num += 1
    return num


def crop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A part of the picture, perhaps mirrored, a little lighter or darker, at most 480 pixels wide."""
    share = rng.uniform(0.45, 0.9)
    width, height = round(picture.width * share), round(picture.height * share * rng.uniform(0.8, 1.0))
    x, y = rng.integers(0, picture.width - width + 1), rng.integers(0, picture.height - height + 1)
    part = picture.crop((int(x), int(y), int(x) + width, int(y) + height))
    if rng.random() < 0.5:
        part = ImageOps.mirror(part)
    part = ImageEnhance.Brightness(part).enhance(rng.uniform(0.75, 1.25))
    part.thumbnail((480, 480))
    return part


if __name__ == "__main__":
    sys.exit(main())
