"""What ``sage doctor`` looks at. A check looks and reports; it mends nothing and never raises.

Layout:
    finding     what a check reports
    checkup     all checks, in the order in which they are shown
    packages    Python, SAGE's own packages, optional ones
    hardware    CPU features that make embedding faster
    models      weights of the embedder, ONNX Runtime
    surroundings  home directory, disk, keys
"""
