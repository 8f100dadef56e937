"""Hosts tasks on threads of this process: ``deployment`` connects them, ``run`` runs them."""
