"""`make new-job`: a complete job from the files in `template`, ready to test, build and deploy."""
