"""Measures what a model has lost against another."""
