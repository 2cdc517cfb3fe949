"""`make real`: a pretrained model through the whole graph, and the page about it."""
