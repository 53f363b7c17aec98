"""A stream of events, followed: lines in, estimates out, as JSON lines or as a view that stays on the screen."""
