"""Rare categories: a few positives in a sea of background, learned by splitting the background."""
