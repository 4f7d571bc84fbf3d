"""The module in a browser: the Lib's Logic behind a page of real Slicer views."""
