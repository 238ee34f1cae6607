"""Mining: from a few examples of something rare to all the others and a classifier, with few labels (chapter 4)."""
