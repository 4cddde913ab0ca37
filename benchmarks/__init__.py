"""The benchmarks: `python -m benchmarks --help`, in a checkout. README.md tells the method."""
