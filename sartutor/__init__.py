"""Hands-on foundation models for synthetic aperture radar."""

__version__ = "0.1.0"
