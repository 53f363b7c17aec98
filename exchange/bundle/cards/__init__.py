"""The model card: what the model is for, on whom it was tried and how well it did, in Markdown."""
