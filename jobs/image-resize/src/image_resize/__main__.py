"""Runs the job: `python -m image_resize`."""

from image_resize.handler import resize
from image_resize.settings import Settings
from keda_jobs import run

if __name__ == "__main__":
    run(resize, Settings)
