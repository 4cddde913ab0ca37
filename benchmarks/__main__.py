"""`python -m benchmarks`: one command a benchmark."""

from __future__ import annotations

import click

from benchmarks.gpu import gpu
from benchmarks.passes import one_pass
from benchmarks.peers import peers
from benchmarks.roofline import roofline
from benchmarks.solvers import solvers


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure gpulr on this machine. Run it in a checkout, on a machine that does nothing else."""


main.add_command(peers)
main.add_command(one_pass)
main.add_command(solvers)
main.add_command(gpu)
main.add_command(roofline)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
