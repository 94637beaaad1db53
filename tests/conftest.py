"""One CPU thread in every test: sums do not depend on the number of cores, and a busy machine slows nothing twice."""

import torch

torch.set_num_threads(1)
