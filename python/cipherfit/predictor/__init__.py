"""What answers, whoever trained it: a graph, and what the client computes around it."""
