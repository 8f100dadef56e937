"""Operators by domain.

Layout:
    rag   retrieval-augmented generation
"""
