"""Images on disk and how they become training samples."""
