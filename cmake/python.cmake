# frnet/_ops and frnet/_core. Both are placed in FRNET_OUTPUT, for setup.py to pick up.

# The torch ops. Linked against libtorch_cpu alone, through the stable ABI: the same binary, CUDA kernels included,
# loads with any torch from 2.10 on, built with CUDA or without.
add_library(_ops MODULE ${FRNET_TORCH_SOURCES})
target_compile_options(_ops PRIVATE -Wno-error)
target_include_directories(_ops SYSTEM PRIVATE ${FRNET_TORCH_INCLUDE})
target_compile_definitions(_ops PRIVATE TORCH_TARGET_VERSION=0x020a000000000000)
target_link_libraries(_ops PRIVATE frnet_core ${FRNET_TORCH_LIB}/libtorch_cpu.so ${CMAKE_DL_LIBS})
set_target_properties(_ops PROPERTIES PREFIX "" SUFFIX ".so")

# The torch-free module.
add_library(_core MODULE ${csrc}/python/core.cpp ${csrc}/python/pictures.cpp ${csrc}/python/rasterize.cpp ${csrc}/python/session.cpp
  ${csrc}/python/shade_mesh.cpp)
target_include_directories(_core SYSTEM PRIVATE ${FRNET_PYBIND11_INCLUDE} ${FRNET_PYTHON_INCLUDE})
set_target_properties(_core PROPERTIES PREFIX "" SUFFIX "${FRNET_PYTHON_SUFFIX}")
target_link_libraries(_core PRIVATE frnet_core)
string(REPLACE ";" " " architectures "${CMAKE_CUDA_ARCHITECTURES}")
string(REPLACE ";" " " isas "${FRNET_CPU_ISAS}")
target_compile_definitions(_core PRIVATE
  FRNET_VERSION="${PROJECT_VERSION}"
  FRNET_COMPILER="${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
  FRNET_TORCH_HEADERS="${FRNET_TORCH_VERSION}"
  FRNET_CUDA_VERSION="${CMAKE_CUDA_COMPILER_VERSION}"
  FRNET_CUDA_ARCHITECTURES="${architectures}"
  FRNET_CPU_ISAS="${isas}")

foreach(module _ops _core)
  set_target_properties(${module} PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY ${FRNET_OUTPUT}
    BUILD_WITH_INSTALL_RPATH ON)  # no path of the build machine in the binary
  target_link_options(${module} PRIVATE -Wl,--exclude-libs,ALL)
endforeach()
