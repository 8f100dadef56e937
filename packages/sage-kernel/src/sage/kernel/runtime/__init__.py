"""Runs a physical plan.

Layout: ``chain_compiler`` (operators → one loop), ``chain`` (a subtask's loops and error policies),
``channel`` and ``output`` (how batches move), ``readers`` (how sources are read), ``task`` (one
subtask), ``context`` and ``services`` (what functions see), ``local`` (hosting on threads).
"""
