"""The file itself: an archive of plain JSON and tensors, read within limits and written whole; it knows no model."""
