"""DICOM of every shape: single-frame series, multi-frame files, RT dose and reconstructed nuclear medicine.

Whatever the shape, a volume is a list of frames. Each frame says itself where it lies, how large its pixels are and how
its values are scaled. One set of checks looks at that list, sorts it and makes a grid of it, or refuses it.

pydicom reads the headers and pixels that are not compressed. GDCM, through SimpleITK, decodes the compressed ones.
These readers of whole volumes were compared:

- SimpleITK (ITK and GDCM): takes the frames of a multi-frame file in the order in which they are stored, whatever their
  positions, and one rescale slope for all. Its series reader ignores gaps.
- highdicom's `Image.get_volume`: sorts and checks frames, but refuses gantry tilt, and knows neither nuclear medicine
  nor RT dose. It needs dimension indices, which many files lack.
- dicom2nifti and dcm2niix: converters to NIfTI files; the first refuses most multi-frame files, the second is a program
  to be installed apart, and guesses where files are ambiguous.
"""
