# Flags that every target shares, and kvinfer_room(): one folder of lib/ as one static library.

find_package(Threads REQUIRED)
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

add_library(kvinfer_flags INTERFACE)
# -fno-gnu-unique: unique symbols would pin the library in the process after dlclose.
# -fmacro-prefix-map: messages name lib/room/file.cc, not the folder that the build was in.
# -ffp-contract=off: a fused multiply-add is written where it is meant, so that every
# instruction set and batch shape computes the same bits.
target_compile_options(kvinfer_flags INTERFACE -Wall -Wextra $<$<BOOL:${KVINFER_WERROR}>:-Werror>
  -ffp-contract=off
  -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-fno-gnu-unique>)
target_compile_definitions(kvinfer_flags INTERFACE
  $<$<BOOL:${KVINFER_CHECK_INVARIANTS}>:KVINFER_CHECK_INVARIANTS=1>)
if(KVINFER_SANITIZE)
  # Instrumented, GCC 12 takes its own library's std::regex for uninitialized (the release build still warns).
  target_compile_options(kvinfer_flags INTERFACE
    -fsanitize=${KVINFER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-maybe-uninitialized>)
  target_link_options(kvinfer_flags INTERFACE -fsanitize=${KVINFER_SANITIZE})
endif()

# kvinfer_room(<name> SOURCES <files> [LINKS <rooms or libraries>])
function(kvinfer_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;LINKS" ${ARGN})
  add_library(kvinfer_${name} STATIC ${ROOM_SOURCES})
  target_include_directories(kvinfer_${name} PUBLIC ${PROJECT_SOURCE_DIR}/lib)
  target_include_directories(kvinfer_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(kvinfer_${name} PUBLIC kvinfer_flags ${ROOM_LINKS})
endfunction()
