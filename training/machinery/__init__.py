"""What a fit runs on and is kept by: the state of a step, that on disk, one graph, several processes, lower precision."""
