# A stub of 3D Slicer's CMake package: enough to configure an extension and to write down what it would install.
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicerStub.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/WriteMetadata.cmake)
set(BUILD_TESTING ON)
