"""Whether gpulr got slower: `python -m pytest benchmarks/guard --benchmark-json FILE`, then `python -m benchmarks compare`.

Not collected by default, for times are no test. Ratios to something else in the same run are compared, since they are
nearly the same on a machine that is slower as a whole.
"""
