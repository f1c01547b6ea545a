"""The job image-download: a URL comes in, the image behind it goes into the bucket under its content's hash."""

__version__ = "0.1.0"
