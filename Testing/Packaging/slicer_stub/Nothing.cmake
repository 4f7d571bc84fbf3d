# Slicer writes the build of the extension down here; nothing of it matters to what is installed.
