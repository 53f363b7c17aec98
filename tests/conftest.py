"""What every test shares."""

import torch

# tests run side by side, and the tensors are small: more threads would only wait for each other
torch.set_num_threads(1)
