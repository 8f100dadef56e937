"""One row a file: its data, its user functions, the work by hand and the work in SAGE.

The modules import SAGE inside their contestants only: a peer that needs an interpreter of its own
imports the data and the user functions from here.
"""
