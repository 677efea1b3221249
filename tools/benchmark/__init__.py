"""What is claimed to be fast, measured on this machine: python -m tools.benchmark [claims | losses | gpu].

Most claims are a ratio against the usual way of doing the same thing. Both are timed in one process, in turns, and each
is taken at its fastest, because a disturbance only ever makes it slower. The usual training loop is
tests/reference_loop.py, so this runs from a checkout.
"""

import ltviz  # noqa: F401  before torch: it says how threads wait
