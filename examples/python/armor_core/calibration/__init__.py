"""Collects Hessians, also for programs that run a model themselves."""
