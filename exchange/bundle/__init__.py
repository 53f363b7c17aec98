"""The bundle: a trained model with everything that it must be judged by, as a value and as a file."""
