"""HydraNets (chapter 3): networks that run only those of their branches that an input needs."""
