"""The bundle as programs of torch that need nothing of ours: `torch.export`."""
