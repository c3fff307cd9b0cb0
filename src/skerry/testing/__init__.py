"""What kinds are proved with; it is shipped, so that kinds from outside can prove themselves."""
