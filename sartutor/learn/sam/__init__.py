"""Segment Anything on radar scenes."""
