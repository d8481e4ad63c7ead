"""The program `armor-core`: `main` has the table of commands, each of which is a module beside it."""
