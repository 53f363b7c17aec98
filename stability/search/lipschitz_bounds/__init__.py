"""How much a network can magnify a difference of what it is given: the search for the least bound that is proved."""
