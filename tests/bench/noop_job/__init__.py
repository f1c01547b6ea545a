"""An event job that does nothing, to measure what the library costs."""
