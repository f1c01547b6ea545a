"""`make new-job`: a complete job from the files in `template`, ready to be tested, built and deployed."""
