# The static library frnet_core, from FRNET_CPU_SOURCES, FRNET_VECTORISED_SOURCES once for each of FRNET_CPU_ISAS and, with
# CUDA, FRNET_CUDA_SOURCES.
add_library(frnet_core STATIC ${FRNET_CPU_SOURCES})
target_include_directories(frnet_core PUBLIC ${csrc}/include ${csrc})

if(avx2 IN_LIST FRNET_CPU_ISAS)
  target_compile_definitions(frnet_core PRIVATE FRNET_X86_ISAS)
endif()
# The same bits as on CUDA: math/rounded.h.
set_source_files_properties(${csrc}/cpu/rasterize.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
set(flags_baseline "")
set(flags_avx2 -mavx2 -mfma -mf16c)
set(flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512)
foreach(isa ${FRNET_CPU_ISAS})
  add_library(frnet_cpu_${isa} OBJECT ${FRNET_VECTORISED_SOURCES})
  target_include_directories(frnet_cpu_${isa} PRIVATE ${csrc}/include ${csrc})
  target_compile_definitions(frnet_cpu_${isa} PRIVATE FRNET_ISA=${isa})
  target_compile_options(frnet_cpu_${isa} PRIVATE ${flags_${isa}})
  target_sources(frnet_core PRIVATE $<TARGET_OBJECTS:frnet_cpu_${isa}>)
endforeach()

if(FRNET_WITH_CUDA)
  target_sources(frnet_core PRIVATE ${FRNET_CUDA_SOURCES})
  target_compile_definitions(frnet_core PUBLIC FRNET_WITH_CUDA)
  target_compile_options(frnet_core PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>)
endif()
