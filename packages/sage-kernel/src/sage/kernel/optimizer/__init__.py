"""Rewrites plans and runs nothing: one rule a file, in the order of ``ruleset``."""
