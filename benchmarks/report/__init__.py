"""The committed records as pictures, a page, and figures of the README: `python -m benchmarks report` and `readme`."""
