"""narrowcast: small vision models that are ready for what is in front of them."""

__version__ = "0.1.0"
