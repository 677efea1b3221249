"""ltviz: learn, explore and tune learning from long-tailed data."""

import os

# Two threads that wait for a busy core cost 20 to 180 times on small tensors. It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
