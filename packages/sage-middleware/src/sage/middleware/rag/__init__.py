"""The path under which older code finds ``sage.middleware.operators.rag``."""
