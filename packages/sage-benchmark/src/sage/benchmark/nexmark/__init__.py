"""Nexmark: queries over the events of an online auction, each compared with a batch program."""
