# KVINFER_CUDA: whether the CUDA backend is built, and kvinfer_cuda_images(): kernels to embed.
#
# Only nvcc and the driver's header are needed; nothing of CUDA is linked.

set(KVINFER_CUDA AUTO CACHE STRING "CUDA backend: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE KVINFER_CUDA PROPERTY STRINGS AUTO ON OFF)
set(KVINFER_CUDA_ARCHITECTURES 80 90a CACHE STRING "GPUs that the kernels are compiled for, as sm_80")
set(KVINFER_HAS_CUDA OFF)
if(KVINFER_CUDA)
  find_package(CUDAToolkit 12.0 QUIET)
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE)
    set(KVINFER_HAS_CUDA ON)
  elseif(NOT KVINFER_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "KVINFER_CUDA is ${KVINFER_CUDA}, but no CUDA toolkit (12.0 or newer, with nvcc) was found; "
      "put nvcc into the PATH, or set KVINFER_CUDA to OFF")
  endif()
endif()
message(STATUS "CUDA backend: ${KVINFER_HAS_CUDA}")

# kvinfer_cuda_images(<folder> SOURCES <.cu files> HEADERS <files>): compiles each to <folder>/<name>.fatbin.
# -fmad=false: as -ffp-contract=off, a fused multiply-add is written where it is meant.
function(kvinfer_cuda_images folder)
  cmake_parse_arguments(IMAGES "" "" "SOURCES;HEADERS" ${ARGN})
  set(targets)
  foreach(arch ${KVINFER_CUDA_ARCHITECTURES})
    list(APPEND targets -gencode arch=compute_${arch},code=sm_${arch})
  endforeach()
  foreach(source ${IMAGES_SOURCES})
    cmake_path(GET source STEM name)
    add_custom_command(OUTPUT ${folder}/${name}.fatbin
      COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} -fatbin -std=c++17 -O3 -fmad=false --expt-relaxed-constexpr
        -Werror all-warnings ${targets} -o ${folder}/${name}.fatbin ${source}
      DEPENDS ${source} ${IMAGES_HEADERS}
      COMMENT "Compiling kernels ${name}.fatbin"
      VERBATIM)
  endforeach()
  file(MAKE_DIRECTORY ${folder})
endfunction()
