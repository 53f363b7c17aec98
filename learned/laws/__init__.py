"""The laws of this package's families as functions: a member of your own is held against them."""
