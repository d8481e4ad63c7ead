"""The parts of calibrate.py, for programs that run a model themselves."""
