"""Reports: pages as HTML and pictures as PNG."""
