"""Runs the job: `python -m image_download`."""

from image_download.fetch import Fetcher
from image_download.handler import download
from image_download.settings import Settings
from keda_jobs import run

if __name__ == "__main__":
    run(download, Settings, resources=Fetcher)
