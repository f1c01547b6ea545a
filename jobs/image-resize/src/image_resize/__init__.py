"""Job image-resize: stores a thumbnail of each stored picture."""
