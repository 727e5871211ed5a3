"""Thin entry points for a Ray cluster."""
