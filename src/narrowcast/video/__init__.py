"""Frames in and out with true timestamps, drawings on them, label files and seeded synthetic streams."""
