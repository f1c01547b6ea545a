"""Job image-download: fetches the image behind a URL and stores it under the hash of its content."""

__version__ = "0.1.0"
