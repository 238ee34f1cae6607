"""Runs the installed package away from the checkout: the help, the zoo, and the main job on a clip drawn here.

Meant for the Python of a fresh environment that holds the wheel and no extras; `make wheel-test` makes one.
"""

import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import narrowcast
from narrowcast.video.synth import moving_shapes
from narrowcast.video.writer import VideoWriter

NARROWCAST = Path(sys.executable).with_name("narrowcast")
NUM_FRAMES = 24


def run(*arguments: str, cwd: Path) -> str:
    """What the command prints; ends this program where the command fails."""
    done = subprocess.run(
        [str(NARROWCAST), *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"narrowcast {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def draw_clip(path: Path) -> None:
    with VideoWriter(path, fps=Fraction(25)) as out:
        for frame, _ in moving_shapes(num_frames=NUM_FRAMES, size_wh=(320, 192), seed=1):
            out.write(frame.image_rgb, frame.time_s)


def main() -> None:
    assert Path(narrowcast.__file__).is_relative_to(sys.prefix), f"{narrowcast.__file__} is not the installed package"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert "stream" in run("--help", cwd=folder)
        assert any(entry["name"] == "jitnet" for entry in json.loads(run("zoo", "--json", cwd=folder)))
        draw_clip(folder / "clip.mp4")
        options = ["--teacher", "embedded", "--classes", "person", "--accuracy", "0.8", "--size", "320x192"]
        run("stream", "run", "clip.mp4", *options, "--out", "run", cwd=folder)
        summary = json.loads((folder / "run" / "summary.json").read_text(encoding="utf-8"))
        assert summary["frames"] == NUM_FRAMES, summary
        assert 0 < summary["teacher_frames"] < NUM_FRAMES, summary
    print("the installed package: help, zoo and stream run are right")


if __name__ == "__main__":
    main()
