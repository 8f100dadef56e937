"""One command a module: its arguments, a call into the layers below, and the printing.

A command imports what it needs inside its function, so that ``sage --help`` imports none of it.
"""
