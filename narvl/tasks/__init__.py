"""The registered tasks; what they share is in ``_base``."""
