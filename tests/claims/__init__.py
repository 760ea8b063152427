"""One file for each chapter. A package, so that a file here may share its name with a test of the package."""
