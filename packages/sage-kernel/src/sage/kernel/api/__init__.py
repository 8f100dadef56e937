"""What a user writes.

Streams build plan values and run nothing; only the environments touch optimizer and runtime.
"""
