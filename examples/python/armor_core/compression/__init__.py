"""Whole models: their blocks one at a time, on the dense and on the compressed path."""
