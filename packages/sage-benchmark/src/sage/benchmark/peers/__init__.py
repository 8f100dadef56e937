"""The rows' work in other systems, one a file, as their documentation says it should be written.

Each module imports its system inside the functions: importing a module here needs nothing.
"""
