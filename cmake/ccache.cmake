# Compiles through ccache where it is installed, so that a build in another folder finds what one before it made.
find_program(FRNET_CCACHE ccache)
find_program(FRNET_ENV env)
mark_as_advanced(FRNET_CCACHE FRNET_ENV)
if(FRNET_CCACHE AND FRNET_ENV AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(launcher ${FRNET_CCACHE})
  if("$ENV{CCACHE_BASEDIR}" STREQUAL "")
    # Paths below this folder count as relative: clones of one tree are alike.
    set(launcher ${FRNET_ENV} CCACHE_BASEDIR=${CMAKE_CURRENT_SOURCE_DIR} ${FRNET_CCACHE})
  endif()
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${launcher})
endif()
