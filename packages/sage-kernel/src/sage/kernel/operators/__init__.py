"""The operators, one a file: what each means and its line of generated code.

No threads and no input or output here. ``operator`` has the base, ``loop`` what they write
themselves into, ``function_spec`` the functions that users gave them.
"""
