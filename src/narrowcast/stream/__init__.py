"""Temporal specialisation: a small student that keeps learning a video from an expensive teacher while it plays."""
