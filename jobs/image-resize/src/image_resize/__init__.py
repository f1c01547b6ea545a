"""Job image-resize: a stored picture comes in, a thumbnail of it is stored."""
