"""How the records of many people become segments on one clock: all of them at once, without a loop over people."""
