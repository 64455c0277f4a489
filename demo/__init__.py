"""The main job from end to end: code, build, ship, run, break, deploy, clean up. `make demo` runs it."""
